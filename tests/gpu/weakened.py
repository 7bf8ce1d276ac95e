"""A CUDA verifier of our own with a protocol of our own: what a defence is worth shows when it is off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kforge.clock import SystemClock, secret_seed
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.defences import DEFENCES, Defence
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL, Protocol
from kforge.eval.verifier import Verifier
from kforge.eval.workbench import Workbench
from kforge.eval.worker import PREPARATIONS
from kforge.types import Built, CandidateSource, DeviceInfo, InfraFailed, Outcome, Rejected


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
        self._verifiers: dict[Protocol, Verifier] = {}
        # What torch.compile makes of the task is not asked here, and takes longer than the rest.
        self._job = prepared | {"task": task, "size": size, "user_dir": None, "compile": False}

    def outcome(self, source: CandidateSource, *, off: Iterable[Defence] = ()) -> Outcome:
        """Build and measure; ``off`` names the defences that are missing."""
        return self.under(source, replace(DEFAULT_PROTOCOL, defences=DEFENCES - frozenset(off)))

    def under(self, source: CandidateSource, protocol: Protocol) -> Outcome:
        """Build and measure under a protocol of the caller's."""
        built = self._build(source, protocol)
        if not isinstance(built, Built):
            return built
        if protocol not in self._verifiers:
            self._verifiers[protocol] = Verifier(
                self._loaded, self._description, self._device,
                job=self._job, clock=SystemClock(), seeds=secret_seed, protocol=protocol,
            )  # fmt: skip
        return self._verifiers[protocol].measure(built, source.precision, lambda _stage: None)

    def close(self) -> None:
        """End the baselines' processes."""
        while self._verifiers:
            self._verifiers.popitem()[1].close()

    def sanitizer_job(self, source: CandidateSource) -> tuple[dict[str, Any], list[torch.Tensor]]:
        """What one run of a candidate under compute-sanitizer needs: job and values."""
        built = self._build(source, DEFAULT_PROTOCOL)
        assert isinstance(built, Built), built
        spec = self._description.workloads[0]
        bench = Workbench(self._loaded.workloads[0], spec, secret_seed, torch.device("cuda"))
        job = self._job | {
            "plan": json.loads(built.plans[spec.name]), "module": built.module_path,
            "sm_count": self._device.sm_count, "precision": source.precision, "off": [],
        }  # fmt: skip
        return job, bench.draw("own").given(bench.state_names)

    def _build(self, source: CandidateSource, protocol: Protocol) -> Built | Rejected | InfraFailed:
        return asyncio.run(
            build_candidate(
                source, source.first_choice(), self._description,
                device=self._device, track="sealed", cache_dir=self._cache, protocol=protocol,
            )
        )  # fmt: skip
