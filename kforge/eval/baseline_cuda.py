"""CUDA baselines in their own trusted process: eager PyTorch and torch.compile, at a stated precision policy.

Both are timed as candidates are: flushed, enqueued ahead, an event on either side. Inputs come through memory
that this process exports, as a runner's do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval import confinement, cuda_driver
from kforge.eval.arena import Arena, Slot
from kforge.eval.cuda_clock import DeviceClock
from kforge.eval.cuda_driver import CudaFailed
from kforge.eval.device_lock import DeviceLock
from kforge.eval.precision_policy import apply_policy, autocast_of
from kforge.eval.runner_main import LaunchRefused, Run, RunnerBroken, serve
from kforge.eval.state import tensors_of

WARM_UP_RUNS = 3


def run(connection: Connection) -> None:
    """Entry point of the baseline process."""
    os.setsid()
    confinement.die_with_parent(os.getppid())
    serve(connection, TorchSession)


class TorchSession:
    """The reference module on the device; ``{"do": "choose"}`` says what ``go`` runs."""

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        # Others' benchmarks must not notice anything of this.
        with DeviceLock(job["lock"]) as lock:
            lock.share()
            self._load(job, arena)

    def _load(self, job: dict[str, Any], arena: Arena) -> None:
        try:
            self._device = cuda_driver.use_device(int(job["device_index"]))
            self._clock = DeviceClock(self._device, Path(job["trusted"]).read_bytes())
        except (CudaFailed, RuntimeError) as error:
            raise RunnerBroken(f"the CUDA device cannot be used: {error}") from error
        torch.set_grad_enabled(False)
        user_dir = Path(job["user_dir"]) if job["user_dir"] else None
        loaded = load_task(resolve(job["task"], user_dir), job["size"])
        workload = next(w for w in loaded.workloads if w.name == job["workload"])
        try:
            memory = cuda_driver.allocate(int(job["bytes"]))
        except CudaFailed as error:
            raise RunnerBroken(f"no device memory for the baseline: {error}") from error
        arena.view(Slot(0, cuda_driver.IPC_HANDLE_BYTES))[:] = cuda_driver.export_memory(memory)
        self._bytes = memory.bytes(self._device)
        self._model = workload.model(0, self._device)
        self._values = workload.inputs(0, self._device)
        self._adopt(job)
        self._compiles = bool(job.get("compile", True))
        self._compiled: Callable[..., object] | None = None
        self._forward: Callable[[], object] = self._eager
        self._policy = autocast_of("ieee")
        # Now, while the first candidate is still being built and checked.
        with contextlib.suppress(LaunchRefused):
            apply_policy("ieee")
            self._compile()
        torch.cuda.empty_cache()

    def _adopt(self, job: dict[str, Any]) -> None:
        """Let inputs, parameters and buffers live in the exported memory."""
        state = tensors_of(self._model)
        slots = iter(Slot(*slot) for slot in job["given"])
        for position, value in enumerate(self._values):
            if isinstance(value, Tensor):
                self._values[position] = self._placed(value, next(slots))
        for name in job["state_names"]:
            tensor = state[name]
            tensor.data = self._placed(tensor.data, next(slots))
        torch.cuda.empty_cache()

    def _placed(self, value: Tensor, slot: Slot) -> Tensor:
        if value.numel() == 0:
            return value
        flat = self._bytes[slot.offset : slot.offset + slot.size].view(value.dtype)
        placed = flat.as_strided(value.shape, value.stride(), flat.storage_offset())
        placed.copy_(value)
        return placed

    def _eager(self) -> object:
        return self._model(*self._values)

    def _compiled_forward(self) -> object:
        assert self._compiled is not None
        return self._compiled(*self._values)

    def _submit(self) -> None:
        with self._policy:
            self._forward()

    def handle(self, request: dict[str, Any]) -> None:
        """``choose`` what runs and at which policy: ``eager`` or ``compiled``; ``rest``: give memory back."""
        if request["do"] == "rest":
            torch.cuda.empty_cache()
            return
        if request["do"] != "choose":
            raise LaunchRefused(f"unknown request {request['do']!r}")
        apply_policy(request["policy"])
        self._policy = autocast_of(request["policy"])
        if request["what"] == "compiled":
            self._compile()
            self._forward = self._compiled_forward
        else:
            self._forward = self._eager
        try:
            for _ in range(WARM_UP_RUNS if request["warm"] else 0):
                self._clock.plain(self._submit)
        except Exception as error:  # another policy compiles anew, and may fail where the first did not
            raise LaunchRefused(f"{request['what']}: {type(error).__name__}: {str(error)[:500]}") from error

    def _compile(self) -> None:
        if not self._compiles:
            raise LaunchRefused("torch.compile was not asked for")
        if self._compiled is None:
            try:
                compiled: Callable[..., object] = torch.compile(self._model, dynamic=False)
                with self._policy:
                    compiled(*self._values)
                torch.cuda.synchronize(self._device)
                self._compiled = compiled
            except Exception as error:  # whatever the compiler raises: the eager baseline stands
                raise LaunchRefused(f"torch.compile: {type(error).__name__}: {str(error)[:500]}") from error

    def go(self) -> Run:
        """One timed forward pass of what was chosen."""
        return self._clock.timed(self._submit)

    def noop(self) -> Run:
        """The clock's own floor."""
        return self._clock.timed(lambda: None)
