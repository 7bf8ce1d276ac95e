"""How steady is the clock on a CPU device? One kernel against itself, through the whole benchmark.

``python -m benchmarks.same_kernel kb/L1/19 small relu.py 20`` benchmarks a SYCL candidate in both roles, so
that the true ratio is 1, and prints what the referee says of every pair.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from kforge.clock import Clock, SystemClock, secret_seed
from kforge.config import places
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.bench import Benchmark
from kforge.eval.candidate import parse_candidate
from kforge.eval.contender import Contender
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL, Protocol
from kforge.eval.runner_client import RunnerClient, Sample
from kforge.eval.workbench import Workbench
from kforge.eval.worker import PREPARATIONS
from kforge.types import Built, CandidateSource, WorkloadResult
from kforge.workers.hardware import choose_device

# However wide the interval: every pair counts.
PROTOCOL = replace(DEFAULT_PROTOCOL, unstable_width=1e9)


class Twin:
    """A contender in the baseline's role."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender

    @property
    def client(self) -> RunnerClient:
        """Its process."""
        return self._contender.client

    def give(self, values: Sequence[Tensor], limits: Protocol) -> None:
        """Write values."""
        self._contender.offer(values, 0, limits)

    def go(self, clock: Clock, limits: Protocol) -> Sample:
        """One timed run."""
        return self._contender.go(clock, limits)

    def floor_us(self, clock: Clock, limits: Protocol) -> float:
        """One empty request."""
        return min(self._contender.noop(clock, limits).wall_us for _ in range(limits.floor_samples))

    still_floor_us = floor_us


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("task", "size", "file"):
        parser.add_argument(name)
    parser.add_argument("pairs", type=int)
    options = parser.parse_args()
    device, cache = choose_device("sycl", "cpu"), places().cache
    loaded = load_task(resolve(options.task), options.size)
    description = describe(loaded)
    source = parse_candidate(Path(options.file).read_text())
    if not isinstance(source, CandidateSource):
        sys.exit(source.reason)
    built = asyncio.run(
        build_candidate(
            source, source.first_choice(), description, device=device, track="sealed", cache_dir=cache
        )
    )
    if not isinstance(built, Built):
        sys.exit(built.reason)
    job = {**PREPARATIONS["sycl"](cache, device)[0], "task": options.task, "size": options.size}
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_sycl"])
    spec = description.workloads[0]
    bench = Workbench(loaded.workloads[0], spec, secret_seed)
    secret = random.Random(secret_seed())

    def pair() -> WorkloadResult:
        plan: dict[str, Any] = json.loads(built.plans[spec.name])
        both = [Contender(warm, plan, built.module_path, device, {**job, "user_dir": None}) for _ in "ab"]
        try:
            for contender in both:
                contender.client.wait_loaded(PROTOCOL.load_limit_s)
            twin: Any = Twin(both[1])
            timed = Benchmark(
                bench, both[0], twin,
                on_cpu=True, clock=SystemClock(), protocol=PROTOCOL, secret=secret,
                flush_bytes=int(job["flush_bytes"]),
            )  # fmt: skip
            return timed.run(source.precision, (0.0, True))
        finally:
            for contender in both:
                contender.client.close()

    found = []
    for _ in range(options.pairs):
        found.append(pair())
        print(_line(found[-1]), flush=True)
    off = [abs(result.speedup - 1) for result in found]
    print(
        f"{options.task} {options.size}, {len(found)} pairs: ratio {min(r.speedup for r in found):.3f} to "
        f"{max(r.speedup for r in found):.3f}, mean distance from 1 {statistics.mean(off):.3f}, "
        f"latency {statistics.median(r.candidate.median_us for r in found):.0f} us, "
        f"floor {statistics.median(r.floor_us for r in found):.0f} us"
    )
    return 0


def _line(result: WorkloadResult) -> str:
    return (
        f"ratio {result.speedup:.3f} ({result.speedup_low:.3f} to {result.speedup_high:.3f}), "
        f"{result.candidate.median_us:.0f} us, floor {result.floor_us:.0f} us, {result.candidate.n} samples, "
        f"noise {result.candidate.noise:.2f}, {result.verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
