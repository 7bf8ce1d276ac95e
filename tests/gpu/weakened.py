"""A CUDA verifier of our own with a protocol of our own: what a defence is worth shows when it is off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kforge.clock import SystemClock, secret_seed
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.defences import DEFENCES, Defence
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL
from kforge.eval.verifier import Verifier
from kforge.eval.worker import PREPARATIONS
from kforge.types import Built, CandidateSource, DeviceInfo, InfraFailed, Outcome


class CudaReferee:
    """Measures sealed CUDA candidates of one task with some defences off, in this process.

    Args:
        task: id.
        size: its size.
        device: the card.
        cache: for builds and the referee's own kernels.
    """

    def __init__(self, task: str, size: str, device: DeviceInfo, cache: Path) -> None:
        self._device, self._cache = device, cache
        self._loaded = load_task(resolve(task, None), size)
        self._description = describe(self._loaded)
        prepared, _ = PREPARATIONS["cuda"](cache, device)
        self._job = prepared | {"task": task, "size": size, "user_dir": None}

    def outcome(self, source: CandidateSource, *, off: Iterable[Defence] = ()) -> Outcome:
        """Build and measure; ``off`` names the defences that are missing."""
        built = asyncio.run(
            build_candidate(
                source, source.first_choice(), self._description,
                device=self._device, track="sealed", cache_dir=self._cache,
            )
        )  # fmt: skip
        if not isinstance(built, Built):
            return built
        return self.measure(built, source, off=off)

    def measure(self, built: Built, source: CandidateSource, *, off: Iterable[Defence] = ()) -> Outcome:
        """Measure what is built."""
        assert not isinstance(built, InfraFailed)
        protocol = replace(DEFAULT_PROTOCOL, defences=DEFENCES - frozenset(off))
        verifier = Verifier(
            self._loaded, self._description, self._device,
            job=self._job, clock=SystemClock(), seeds=secret_seed, protocol=protocol,
        )  # fmt: skip
        try:
            return verifier.measure(built, source.precision, lambda _stage: None)
        finally:
            verifier.close()
