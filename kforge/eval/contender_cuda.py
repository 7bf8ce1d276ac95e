"""A CUDA candidate's runner as the verifier sees it: its exported memory, mapped, written and read here.

The verifier draws on the device and copies from its own memory into the runner's; outputs are cloned out of
it. The runner's context never maps memory of the verifier.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from kforge.clock import Clock
from kforge.errors import InfraError
from kforge.eval import cuda_driver, runner_cuda
from kforge.eval.arena import GUARD_PATTERN, Slot
from kforge.eval.contender import Damage, RunLimits, integers, storage_name
from kforge.eval.cuda_driver import CudaFailed
from kforge.eval.cuda_layout import lay_out_plan
from kforge.eval.plan import GIVEN_ROLES
from kforge.eval.runner_client import RunnerClient
from kforge.types import DeviceInfo


class CudaClient(RunnerClient):
    """A runner whose memory is on the device: what a SYCL runner copies itself, is done from here.

    Args:
        context: a forkserver with torch loaded and CUDA untouched.
        target: entry point of the process.
        job: JSON-able job.
        device: of this process; the same card.
        size: bytes of device memory that the runner will export.
    """

    def __init__(
        self,
        context: multiprocessing.context.BaseContext,
        target: Callable[[Connection], None],
        job: dict[str, Any],
        *,
        device: torch.device,
        size: int,
    ) -> None:
        super().__init__(context, target, job, cuda_driver.IPC_HANDLE_BYTES)
        self._device, self._size = device, size
        self._memory: cuda_driver.DeviceMemory | None = None
        self.bytes = torch.empty(0, dtype=torch.uint8, device=device)

    def wait_loaded(self, limit_s: float) -> None:
        """Wait until the runner has its memory, and map it.

        Raises:
            InfraError: it cannot be mapped.
        """
        super().wait_loaded(limit_s)
        handle = bytes(self.arena.view(Slot(0, cuda_driver.IPC_HANDLE_BYTES)))
        try:
            self._memory = cuda_driver.import_memory(handle, self._size)
        except CudaFailed as error:
            raise InfraError(
                f"The runner's device memory cannot be mapped: {error}.", "run `kforge doctor`"
            ) from error
        self.bytes = self._memory.bytes(self._device)[: self._size]

    def close(self) -> None:
        """Unmap the memory and kill the runner; safe to call twice."""
        memory, self._memory = self._memory, None
        if memory is not None:
            torch.cuda.synchronize(self._device)
            self.bytes = torch.empty(0, dtype=torch.uint8, device=self._device)
            cuda_driver.close_memory(memory)
        super().close()


class CudaContender:
    """One candidate, one workload, one disposable runner on a CUDA device."""

    def __init__(
        self,
        context: multiprocessing.context.BaseContext,
        bound: dict[str, Any],
        module_path: str,
        device: DeviceInfo,
        job: dict[str, Any],
        *,
        target: Callable[[Connection], None] = runner_cuda.run,
    ) -> None:
        plan: dict[str, Any] = bound["plan"]
        self._storages = {s["id"]: s for s in plan["storages"]}
        tensors = {t["id"]: t for t in plan["tensors"]}
        self._outputs = [tensors[i] for i in plan["outputs"]]
        self._given = [s for s in plan["storages"] if s["role"] in GIVEN_ROLES]
        self._layout = lay_out_plan(plan["storages"], [t["storage"] for t in self._outputs])
        # What one run of a burst enqueues: two flushes, each writable storage poisoned, the plan.
        self.burst_steps = 2 + len(self._layout.writable) + len(plan["steps"])
        self._exports = any(self._storages[t["storage"]]["role"] == "op" for t in self._outputs)
        self._off = frozenset(job["off"])
        full_job = {**job, "plan": bound, "module": module_path, "sm_count": device.sm_count}
        self._device = torch.device("cuda", int(job["device_index"]))
        self.client = CudaClient(context, target, full_job, device=self._device, size=self._layout.size)

    def run_once(self, given: Sequence[Tensor], poison: int, clock: Clock, limits: RunLimits) -> None:
        """Write values, poison the rest, run the plan once untimed, make its outputs readable."""
        self.prepare(given, poison)
        self.client.ask({"do": "run"}, limits.run_limit_s)
        self.collect(limits)

    def prepare(self, given: Sequence[Tensor], poison: int) -> None:
        """Write this run's inputs and parameters; everything else is poisoned, guard zones included."""
        memory = self.client.bytes
        for storage in self._layout.writable if "poison" not in self._off else ():
            self._region(self._storages[storage]).fill_(poison)
        for zone in self._layout.zones:
            memory[zone.start : zone.stop].fill_(GUARD_PATTERN)
        for storage, value in zip(self._given, given, strict=True):
            self._like(storage, value).copy_(value)
        torch.cuda.synchronize(self._device)

    def collect(self, limits: RunLimits) -> None:
        """Have the module's objects compared, and what operators made copied to where ``snapshot`` reads."""
        if "module_image" not in self._off:
            self.client.ask({"do": "audit"}, limits.copy_limit_s)
        if self._exports:
            self.client.ask({"do": "export"}, limits.copy_limit_s)

    def snapshot(self) -> list[Tensor]:
        """Copies of the outputs, as tensors of the reference's shape and type on the device."""
        found = [
            torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device=self._device).copy_(v)
            for v in self.views()
        ]
        torch.cuda.synchronize(self._device)
        return found

    def views(self) -> list[Tensor]:
        """The outputs where they lie, in the runner's memory: to be read before its next run only."""
        return [self._output_view(tensor) for tensor in self._outputs]

    def _output_view(self, tensor: dict[str, Any]) -> Tensor:
        dtype: torch.dtype = getattr(torch, tensor["dtype"])
        region = self._region(self._storages[tensor["storage"]])
        flat = region[: region.numel() - region.numel() % dtype.itemsize].view(dtype)
        base = flat.storage_offset()
        return flat.as_strided(tensor["shape"], tensor["strides"], base + int(tensor["offset"]))

    def damage(self, given: Sequence[Tensor]) -> Damage | None:
        """Guard zones and given values after a run, compared byte for byte on the device."""
        memory = self.client.bytes
        zones = torch.stack([(memory[z.start : z.stop] != GUARD_PATTERN).any() for z in self._layout.zones])
        for number in zones.nonzero().reshape(-1).tolist() if "guards" not in self._off else ():
            zone = self._layout.zones[number]
            name = storage_name(self._storages[zone.storage])
            return Damage("guard", f"wrote outside its memory: {zone.side} {name}")
        compared = () if "inputs_compared" in self._off else zip(self._given, given, strict=True)
        for storage, value in compared:
            if not torch.equal(integers(self._like(storage, value)), integers(value)):
                return Damage("input_changed", f"changed {storage_name(storage)}, which is read-only")
        return None

    def _region(self, storage: dict[str, Any]) -> Tensor:
        begin = self._layout.offsets[storage["id"]]
        return self.client.bytes[begin : begin + int(storage["bytes"])]

    def _like(self, storage: dict[str, Any], value: Tensor) -> Tensor:
        """The runner's copy of a given value, in the value's own layout."""
        region = self._region(storage)
        if value.numel() == 0:
            return torch.empty_like(value)
        flat = region.view(value.dtype)
        return flat.as_strided(value.shape, value.stride(), flat.storage_offset())
