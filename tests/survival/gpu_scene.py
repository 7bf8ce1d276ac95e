"""A verifier of one small task on the card, with short limits; its runner can be hit by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

from kforge.clock import SystemClock, secret_seed
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL
from kforge.eval.threads import below
from kforge.eval.verifier import Verifier
from kforge.eval.worker import PREPARATIONS
from kforge.types import Built, CandidateSource, DeviceInfo, Outcome
from tests.survival.scene import role

TASK, SIZE = "kb/L1/19", "small"
PROTOCOL = replace(DEFAULT_PROTOCOL, run_limit_s=4.0, copy_limit_s=5.0, bench_budget_s=0.5)


class GpuScene:
    """One verifier for many candidates.

    Args:
        device: the card.
        cache: for builds.
    """

    def __init__(self, device: DeviceInfo, cache: Path) -> None:
        self._device, self._cache = device, cache
        loaded = load_task(resolve(TASK, None), SIZE)
        self._description = describe(loaded)
        prepared, _ = PREPARATIONS["cuda"](cache, device)
        self._verifier = Verifier(
            loaded, self._description, device,
            job=prepared | {"task": TASK, "size": SIZE, "user_dir": None},
            clock=SystemClock(), seeds=secret_seed, protocol=PROTOCOL,
        )  # fmt: skip

    def outcome(self, source: CandidateSource, hit: signal.Signals | None = None) -> Outcome:
        """Build and measure.

        Args:
            source: the candidate.
            hit: what its runner is sent soon after the benchmark began.
        """
        built = asyncio.run(
            build_candidate(
                source, source.first_choice(), self._description,
                device=self._device, track="sealed", cache_dir=self._cache,
            )
        )  # fmt: skip
        if not isinstance(built, Built):
            return built

        def on_stage(stage: str) -> None:
            if stage == "bench" and hit is not None:
                threading.Timer(0.05, self._hit_runner, [hit]).start()

        return self._verifier.measure(built, source.precision, on_stage)

    @staticmethod
    def runners() -> list[int]:
        """Process ids of living runners."""
        return [p for p in below(os.getpid()) if role(p, os.getpid()) == "runner"]

    def _hit_runner(self, number: signal.Signals) -> None:
        deadline = time.monotonic() + 10.0
        while not (found := self.runners()) and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in found:
            os.kill(pid, number)

    def close(self) -> None:
        """End the baseline."""
        self._verifier.close()
