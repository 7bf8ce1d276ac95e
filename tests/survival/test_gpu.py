"""What can hurt a card, one after the other on one verifier: typed, and the next verdict is right."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kforge.types import CheckFailed, DeviceInfo, Outcome, Passed, ScreenedOut, TimedOut
from kforge.workers.hardware import choose_device
from tests.gpu.opened import candidate
from tests.gpu.test_wrong import HONEST, text
from tests.survival.gpu_scene import GpuScene

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU: torch.cuda.is_available()"),
]
ENDLESS = "while (*(volatile float*)y != 12345.0f) { } " + HONEST
BARRIER = """\
LANGUAGE = "cuda"
SOURCE = '''
#include <cooperative_groups.h>
extern "C" __global__ void __launch_bounds__(256)
f(const float* __restrict__ x, float* y, long long n) {
  // One block never arrives: the others wait for it for ever.
  if (blockIdx.x > 0) cooperative_groups::this_grid().sync();
  for (long long i = (long long)blockIdx.x * 256 + threadIdx.x; i < n; i += (long long)gridDim.x * 256)
    y[i] = x[i] < 0.0f ? 0.0f : x[i];
}
'''


def plan(k, x):
    y = k.empty_like(x)
    k.launch("f", (16,), (256,), [x, y, x.numel()], cooperative=True)
    return y
"""
GREEDY = """\
LANGUAGE = "cuda"
SOURCE = '''
extern "C" __global__ void f(const float* x, float* y, char* s, long long n) {
  long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i < n) y[i] = x[i] < 0.0f ? 0.0f : x[i];
}
'''


def plan(k, x):
    y = k.empty_like(x)
    s = k.scratch(BYTES)
    k.launch("f", (k.cdiv(x.numel(), 256),), (256,), [x, y, s, x.numel()])
    return y
"""
HOSTILE: dict[str, tuple[str, type[Outcome], str]] = {
    "infinite kernel": (text(ENDLESS), TimedOut, "check"),
    "deadlocked grid barrier": (BARRIER, TimedOut, "check"),
    "illegal address": (text("*(volatile float*)(8 * (i & 1)) = v;"), CheckFailed, "crash"),
    "far store": (text(HONEST + " y[i + (1LL << 42)] = v;"), CheckFailed, "crash"),
}


@pytest.fixture(scope="module")
def device() -> DeviceInfo:
    return choose_device("cuda", "auto")


@pytest.fixture(scope="module")
def scene(device: DeviceInfo, cache: Path) -> Iterator[GpuScene]:
    opened = GpuScene(device, cache)
    assert isinstance(opened.outcome(candidate(text(HONEST))), Passed)
    yield opened
    opened.close()


def must_still_work(scene: GpuScene) -> None:
    """The next candidate, right and wrong: the probe ran before the first of them."""
    right = scene.outcome(candidate(text(HONEST)))
    assert isinstance(right, Passed), right
    wrong = scene.outcome(candidate(text("y[i] = v;")))
    assert isinstance(wrong, CheckFailed), wrong
    assert wrong.kind == "mismatch"
    assert scene.runners() == []


@pytest.mark.parametrize("name", HOSTILE)
def test_the_card_survives(scene: GpuScene, name: str) -> None:
    source, kind, detail = HOSTILE[name]
    outcome = scene.outcome(candidate(source))
    assert isinstance(outcome, kind), outcome
    assert detail in (
        getattr(outcome, "stage", None),
        getattr(outcome, "kind", getattr(outcome, "rule", None)),
    )
    must_still_work(scene)


def test_a_plan_of_nearly_all_memory_is_judged_or_refused(scene: GpuScene, device: DeviceInfo) -> None:
    """Whatever the rule lets through must leave the verifier its room."""
    for share in (0.5, 0.9, 0.95, 0.99):  # the last is 79 GB of an 80 GB card
        outcome = scene.outcome(candidate(GREEDY.replace("BYTES", str(int(share * device.memory_bytes)))))
        assert isinstance(outcome, Passed | ScreenedOut), (share, outcome)
    assert isinstance(outcome, ScreenedOut), outcome
    assert outcome.rule == "memory"
    must_still_work(scene)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGKILL, CheckFailed), (signal.SIGSTOP, TimedOut)], ids=["kill", "stop"]
)
def test_a_runner_hit_in_the_benchmark_is_typed(
    scene: GpuScene, number: signal.Signals, kind: type[Outcome]
) -> None:
    outcome = scene.outcome(candidate(text(HONEST)), hit=number)
    assert isinstance(outcome, kind), outcome
    must_still_work(scene)
