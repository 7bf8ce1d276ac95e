"""What measures on a kind of device: how candidates run there, and what times them. A visible registry.

A rig belongs to one verifier, so to one task and one device.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from kforge.clock import Clock
from kforge.eval import baseline
from kforge.eval.arena import lay_out
from kforge.eval.bench import BaselineRunner, Benchmark
from kforge.eval.contender import Challenger, Contender, given_bytes
from kforge.eval.defences import DEFENCES
from kforge.eval.protocol import Protocol as EvaluationProtocol
from kforge.eval.runner_client import RunnerClient
from kforge.eval.workbench import Workbench
from kforge.types import Built, DeviceInfo, Language, Precision, WorkloadResult, WorkloadSpec


@dataclass(frozen=True, slots=True)
class Instruments:
    """What every measurement is made with.

    Attributes:
        job: what every runner is told beside its plan.
        clock: the verifier's.
        secret: which the candidate must not foresee.
    """

    device: DeviceInfo
    job: Mapping[str, Any]
    clock: Clock
    protocol: EvaluationProtocol
    secret: random.Random


class Rig(Protocol):
    """Runs and times candidates of one language on one device."""

    @property
    def torch_device(self) -> torch.device:
        """Where the verifier draws inputs and computes the truth."""
        ...

    def begin(self, bench: Workbench) -> None:
        """Start what can be started before the first candidate is there."""
        ...

    def start(self, built: Built, spec: WorkloadSpec, precision: Precision) -> Challenger:
        """A disposable runner for one candidate and workload."""
        ...

    def ready(self, bench: Workbench) -> None:
        """Have the baseline of a workload running, before the benchmark begins."""
        ...

    def benchmark(
        self, bench: Workbench, contender: Challenger, precision: Precision, checked: tuple[float, bool]
    ) -> WorkloadResult:
        """Time a checked candidate; raises ``Stop``."""
        ...

    def close(self) -> None:
        """End the baselines."""
        ...


class SyclRig:
    """SYCL devices: values pass through shared memory, the clock is the verifier's wall clock."""

    def __init__(self, instruments: Instruments) -> None:
        self._tools = instruments
        # Runners fork from a process that has torch loaded and has never seen a reference or a seed.
        self._warm = multiprocessing.get_context("forkserver")
        self._warm.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_sycl"])
        self._spawn = multiprocessing.get_context("spawn")
        self._baselines: dict[str, BaselineRunner] = {}

    @property
    def torch_device(self) -> torch.device:
        """The host: a SYCL device's own torch build is not asked for."""
        return torch.device("cpu")

    def begin(self, bench: Workbench) -> None:
        """Nothing: eager would take processor time from builds that compete for the same cores."""

    def start(self, built: Built, spec: WorkloadSpec, precision: Precision) -> Contender:
        """Fork a runner."""
        plan = json.loads(built.plans[spec.name])
        job = {**self._tools.job, "off": sorted(DEFENCES - self._tools.protocol.defences)}
        return Contender(self._warm, plan, built.module_path, self._tools.device, job)

    def ready(self, bench: Workbench) -> None:
        """Start eager PyTorch in a process of its own."""
        name = bench.spec.name
        known = self._baselines.get(name)
        if known is not None and known.client.alive:
            return
        if known is not None:
            known.client.close()
        layout = lay_out(given_bytes(bench.draw("own").given(bench.state_names)))
        job = {
            **self._tools.job,
            "workload": name,
            "state_names": bench.state_names,
            "given": [[s.offset, s.size] for s in layout.slots],
        }
        client = RunnerClient(self._spawn, baseline.run, job, layout.size)
        client.wait_loaded(self._tools.protocol.load_limit_s)
        self._baselines[name] = BaselineRunner(client, layout.slots)

    def benchmark(
        self, bench: Workbench, contender: Challenger, precision: Precision, checked: tuple[float, bool]
    ) -> WorkloadResult:
        """Interleave candidate and eager, sample by sample."""
        assert isinstance(contender, Contender)
        tools = self._tools
        eager = self._baselines[bench.spec.name]
        timed = Benchmark(
            bench, contender, eager,
            on_cpu=tools.device.is_cpu, clock=tools.clock, protocol=tools.protocol, secret=tools.secret,
            flush_bytes=int(tools.job["flush_bytes"]),
        )  # fmt: skip
        return timed.run(precision, checked)

    def close(self) -> None:
        """End the baseline processes."""
        for entry in self._baselines.values():
            entry.client.close()
        self._baselines.clear()


def _cuda(instruments: Instruments) -> Rig:
    from kforge.eval.rig_cuda import CudaRig

    return CudaRig(instruments)


# The CUDA rig is imported when it is wanted: it needs the cuda extra.
RIGS: Mapping[Language, Callable[[Instruments], Rig]] = {"sycl": SyclRig, "cuda": _cuda}
