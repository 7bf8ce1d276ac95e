"""Compilers and planners that are killed, stopped, flooded or asked for too much."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kforge.eval import compile as building
from kforge.eval import compile_sycl
from kforge.eval.compile import CachedBuild, cached_build
from kforge.eval.compile_sycl import KILLED, SyclBuilder
from kforge.eval.compiled import Compiled
from kforge.eval.plan import LaunchPlan
from kforge.eval.plan_process import PLAN_LIMITS, plan_candidate
from kforge.eval.sandbox import Limits, run_limited_sync
from kforge.eval.threads import below
from kforge.types import (
    BuildFailed,
    CandidateSource,
    DeviceInfo,
    InfraFailed,
    Language,
    Scalar,
    ScreenedOut,
    TimedOut,
)
from kforge.workers.hardware import choose_device
from tests.plan.examples import DEVICE, WORKLOAD, candidate
from tests.survival.scene import request

End = Compiled | BuildFailed | TimedOut | InfraFailed


class Killed:
    """A builder whose compiler is killed some times before it ends by itself."""

    def __init__(self, times: int) -> None:
        self.left, self.builds = times, 0
        self.language: Language = "sycl"

    def version(self) -> str:
        return "1"

    def target(self, device: DeviceInfo) -> str:
        return device.name

    async def build(
        self, source: CandidateSource, tune: Mapping[str, Scalar], device: DeviceInfo, cache_dir: Path
    ) -> End:
        self.builds += 1
        self.left -= 1
        return KILLED if self.left >= 0 else Compiled(b"module", b"code", "")


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_compiler_is_started_once_more_and_never_cached(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Killed(times)
    monkeypatch.setattr(building, "BUILDERS", (builder,))
    first = asyncio.run(cached_build(candidate(), {}, DEVICE, tmp_path))
    assert builder.builds == 2
    assert isinstance(first, CachedBuild if times == 1 else BuildFailed), first
    again = asyncio.run(cached_build(candidate(), {}, DEVICE, tmp_path))
    assert isinstance(again, CachedBuild), "what a kill left must not be the source's verdict"


async def _with_signal(number: signal.Signals, tmp_path: Path) -> End:
    """A real build whose child is hit as soon as it is there."""
    builder = SyclBuilder()
    device = choose_device("sycl", "cpu")
    task = asyncio.create_task(builder.build(request().source, {}, device, tmp_path))
    while not (built := [p for p in below(os.getpid()) if _is_build_child(p)]):
        await asyncio.sleep(0.01)
    for pid in built:
        os.kill(pid, number)
    return await task


def _is_build_child(pid: int) -> bool:
    try:
        return "sycl_build_child" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@pytest.mark.sycl
def test_a_killed_build_child_is_told_as_killed(cache: Path) -> None:
    assert asyncio.run(_with_signal(signal.SIGKILL, cache)) == KILLED


@pytest.mark.sycl
def test_a_stopped_build_child_times_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_sycl, "BUILD_LIMITS", replace(compile_sycl.BUILD_LIMITS, wall_s=2.0))
    outcome = asyncio.run(_with_signal(signal.SIGSTOP, cache))
    assert isinstance(outcome, TimedOut)
    assert outcome.stage == "build"


def _plan(body: str, limits: Limits = PLAN_LIMITS) -> object:
    text = "def plan(k, x):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return asyncio.run(
        plan_candidate(candidate(text), {"BLOCK": 64}, WORKLOAD, DEVICE, "sealed", limits=limits)
    )


def test_a_stopped_planning_process_times_out() -> None:
    body = "import os\nos.kill(os.getpid(), 19)\nwhile True: pass"
    outcome = _plan(body, replace(PLAN_LIMITS, wall_s=2.0))
    assert isinstance(outcome, TimedOut | ScreenedOut), outcome


def test_a_gigabyte_of_output_is_drained_and_not_kept() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = "import os\nb = b'x' * (1 << 20)\nfor _ in range(1024): os.write(1, b)"
    child = run_limited_sync([sys.executable, "-I", "-S", "-c", flood], limits=Limits(wall_s=60.0))
    assert (child.exit_code, child.timed_out) == (0, False)
    assert len(child.stdout) <= 64 * 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"


def test_a_plan_that_is_killed_twice_did_it_itself() -> None:
    outcome = _plan("import os\nos.kill(os.getpid(), 9)")
    assert not isinstance(outcome, LaunchPlan | InfraFailed), outcome


H100 = replace(DEVICE, name="H100", memory_bytes=85_000_000_000, is_cpu=False)
SCRATCH = """
y = k.op("conv2d", x, k.param("conv.weight"), k.param("conv.bias"))
out = k.empty_like(y)
s = k.zeros((SIZE,), "u8")
k.launch("inorm", grid=(32,), block=(64,), args=[y, out, 196, 1.0, k.local("float32", 64)])
return out
"""


@pytest.mark.parametrize(("gib", "accepted"), [(79, False), (76, False), (60, True)])
def test_a_plan_must_leave_room_for_its_judges(gib: int, accepted: bool) -> None:
    body = SCRATCH.replace("SIZE", str(gib << 30)).strip()
    text = "def plan(k, x):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    outcome = asyncio.run(plan_candidate(candidate(text), {"BLOCK": 64}, WORKLOAD, H100, "sealed"))
    if accepted:
        assert isinstance(outcome, LaunchPlan), outcome
    else:
        assert isinstance(outcome, ScreenedOut), outcome
        assert outcome.rule == "memory"
