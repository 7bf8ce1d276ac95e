"""A kernel on the CPU device shares its runner's memory: the answer must not be there.

The strongest scan is not the kernel's own: while a kernel spins, the test reads every readable page of the
runner from outside. As a control it finds the inputs there, and the outputs that
the candidate itself wrote.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kforge.clock import SystemClock
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import LoadedTask, load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.candidate import parse_candidate
from kforge.eval.contender import Contender
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL
from kforge.eval.runner_client import RunnerFailed
from kforge.eval.sycl_runtime import ensure_shim
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Built, CandidateSource, DeviceInfo, TaskDescription

HERE = Path(__file__).parent
TASK = str(HERE / "rows_task.py")
NEEDLE_BYTES = 64
CHUNK = 8 << 20


def memory(pid: int) -> Iterator[bytes]:
    """Every readable byte of a process, in chunks that overlap by a needle."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as found:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("r") or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            for at in range(start, end, CHUNK):
                try:
                    found.seek(at)
                    yield found.read(min(CHUNK + NEEDLE_BYTES, end - at))
                except OSError:
                    continue  # guard pages and device windows


def holds(pid: int, needles: dict[str, bytes]) -> set[str]:
    seen: set[str] = set()
    for chunk in memory(pid):
        seen |= {name for name, needle in needles.items() if needle in chunk}
    return seen


def needle(values: Tensor) -> bytes:
    """Bytes from the middle of a tensor, long enough to be there by no chance."""
    raw = values.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return raw[len(raw) // 2 : len(raw) // 2 + NEEDLE_BYTES]


@pytest.fixture(scope="module")
def loaded() -> tuple[LoadedTask, TaskDescription]:
    task = load_task(resolve(TASK), "full")
    return task, describe(task)


def contender(name: str, description: TaskDescription, device: DeviceInfo, cache: Path) -> Contender:
    source = parse_candidate((HERE / "candidates" / f"{name}.py").read_text())
    assert isinstance(source, CandidateSource)
    built = asyncio.run(
        build_candidate(source, {}, description, device=device, track="sealed", cache_dir=cache)
    )
    assert isinstance(built, Built), built
    job: dict[str, Any] = {
        "shim": str(ensure_shim(cache)), "threads": os.cpu_count() or 1, "flush_bytes": 1 << 20,
        "task": TASK, "size": "full", "user_dir": None,
    }  # fmt: skip
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_sycl"])
    plan = json.loads(next(iter(built.plans.values())))
    made = Contender(warm, plan, built.module_path, device, job)
    made.client.wait_loaded(60.0)
    return made


def given(bench: Workbench, made: Contender) -> tuple[Draw, dict[str, bytes]]:
    """Values handed to the runner after their truth was computed here; needles of both."""
    draw = bench.draw("own")
    truth = bench.truth(draw, "ieee")
    assert truth is not None
    made.offer(draw.given(bench.state_names), 0x7F, DEFAULT_PROTOCOL)
    inputs = draw.given(bench.state_names)
    return draw, {
        "input": needle(inputs[0]),
        "eager output": needle(truth[0].eager),
        "exact output": needle(truth[0].exact),
        "exact output in fp32": needle(truth[0].exact.float()),
    }


def bench_of(loaded: tuple[LoadedTask, TaskDescription]) -> Workbench:
    task, description = loaded
    secret = random.Random(0)
    return Workbench(task.workloads[0], description.workloads[0], lambda: secret.getrandbits(63))


@pytest.mark.sycl
def test_a_runner_with_a_spinning_kernel_holds_inputs_and_no_reference(
    loaded: tuple[LoadedTask, TaskDescription], device: DeviceInfo, cache: Path
) -> None:
    bench = bench_of(loaded)
    made = contender("endless", loaded[1], device, cache)
    try:
        _, needles = given(bench, made)
        before = holds(made.client.pid, needles)
        ended: list[RunnerFailed] = []

        def spin() -> None:
            try:
                made.go(SystemClock(), replace(DEFAULT_PROTOCOL, run_limit_s=60.0))
            except RunnerFailed as error:  # it is killed below
                ended.append(error)

        running = threading.Thread(target=spin)
        running.start()
        during = holds(made.client.pid, needles)
        assert running.is_alive()
        made.client.kill()
        running.join(30.0)
        assert len(ended) == 1
    finally:
        made.client.close()
    assert before == {"input"}
    # The spinning kernel has written outputs of its own by now, which may agree with eager's to the bit.
    assert "input" in during
    assert "exact output" not in during


@pytest.mark.sycl
def test_no_reference_of_an_earlier_run_is_there_either(
    loaded: tuple[LoadedTask, TaskDescription], device: DeviceInfo, cache: Path
) -> None:
    """The verifier computes the truth of a run after it; the next run must not find it."""
    bench = bench_of(loaded)
    made = contender("correct", loaded[1], device, cache)
    try:
        _, first = given(bench, made)
        made.go(SystemClock(), DEFAULT_PROTOCOL)
        own = {"own output": needle(made.snapshot()[0])}
        assert holds(made.client.pid, own) == {"own output"}  # the scan does see outputs
        _, second = given(bench, made)
        assert holds(made.client.pid, second) == {"input"}
        assert "exact output" not in holds(made.client.pid, first)
    finally:
        made.client.close()
