"""The CUDA rig: inputs drawn on the card, values copied between exported memories, times between events."""

from __future__ import annotations

import contextlib
import json
import multiprocessing

import torch

from kforge.errors import InfraError
from kforge.eval import baseline_cuda, cuda_driver
from kforge.eval.arena import lay_out
from kforge.eval.bench_cuda import CudaBaseline, CudaBenchmark
from kforge.eval.contender import Challenger, given_bytes
from kforge.eval.contender_cuda import CudaClient, CudaContender
from kforge.eval.cuda_driver import CudaFailed
from kforge.eval.defences import DEFENCES
from kforge.eval.precision_policy import apply_policy, policy_of
from kforge.eval.rig import Instruments
from kforge.eval.runner_client import RunnerFailed
from kforge.eval.workbench import Workbench
from kforge.types import Built, Precision, WorkloadResult, WorkloadSpec


class CudaRig:
    """CUDA devices.

    Raises:
        InfraError: the device cannot be used.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._tools = instruments
        self._warm = multiprocessing.get_context("forkserver")
        # CUDA must be untouched there: a context does not survive a fork.
        self._warm.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_cuda"])
        self._spawn = multiprocessing.get_context("spawn")
        self._baselines: dict[str, CudaBaseline] = {}
        try:
            self._device = cuda_driver.use_device(int(instruments.job["device_index"]))
        except (CudaFailed, RuntimeError) as error:
            raise InfraError(f"The CUDA device cannot be used: {error}.", "run `kforge doctor`") from error

    @property
    def torch_device(self) -> torch.device:
        """The card itself."""
        return self._device

    def start(self, built: Built, spec: WorkloadSpec, precision: Precision) -> CudaContender:
        """Fork a runner; the verifier gives back the memory it only keeps for speed."""
        apply_policy(policy_of(precision))
        torch.cuda.empty_cache()
        plan = json.loads(built.plans[spec.name])
        off = sorted(DEFENCES - self._tools.protocol.defences)
        job = {**self._tools.job, "precision": precision, "off": off}
        return CudaContender(self._warm, plan, built.module_path, self._tools.device, job)

    def begin(self, bench: Workbench) -> None:
        """Start eager and torch.compile in a process of their own, which takes many seconds."""
        layout = lay_out(given_bytes(bench.draw("own").given(bench.state_names)))
        torch.cuda.empty_cache()
        job = {
            **self._tools.job,
            "workload": bench.spec.name,
            "state_names": bench.state_names,
            "given": [[s.offset, s.size] for s in layout.slots],
            "bytes": layout.size,
        }
        client = CudaClient(self._spawn, baseline_cuda.run, job, device=self._device, size=layout.size)
        slots = [(s.offset, s.size) for s in layout.slots]
        self._baselines[bench.spec.name] = CudaBaseline(client, slots)

    def ready(self, bench: Workbench) -> None:
        """Wait until the baseline's process has loaded the task and compiled it."""
        if not self._baselines[bench.spec.name].client.alive:
            self._baselines[bench.spec.name].client.close()
            self.begin(bench)
        baseline = self._baselines[bench.spec.name]
        if not baseline.loaded:
            baseline.client.wait_loaded(self._tools.protocol.baseline_limit_s)
            baseline.loaded = True

    def benchmark(
        self, bench: Workbench, contender: Challenger, precision: Precision, checked: tuple[float, bool]
    ) -> WorkloadResult:
        """Interleave candidate, eager and torch.compile, sample by sample."""
        assert isinstance(contender, CudaContender)
        torch.cuda.empty_cache()
        tools, baseline = self._tools, self._baselines[bench.spec.name]
        timed = CudaBenchmark(
            bench, contender, baseline,
            clock=tools.clock, protocol=tools.protocol, secret=tools.secret,
            least_us=bench.least_us(tools.device.l2_bytes, float(tools.job["copy_bytes_per_s"])),
        )  # fmt: skip
        try:
            return timed.run(precision, checked)
        except RunnerFailed as error:
            # The candidate's own failures are outcomes by now, so this is the baseline's.
            raise InfraError(
                f"The baseline's process failed on this task ({type(error).__name__}): {error}",
                "use --size small, or a card with more memory",
            ) from error
        finally:
            with contextlib.suppress(RunnerFailed):
                baseline.rest(tools.protocol.baseline_limit_s)

    def close(self) -> None:
        """End the baseline processes."""
        for entry in self._baselines.values():
            entry.client.close()
        self._baselines.clear()
