"""A card as open candidates and eager use it: a device, one exported allocation, the files it needs."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from kforge.eval import cuda_driver
from kforge.eval.arena import Arena, Slot
from kforge.eval.cuda_driver import CudaFailed
from kforge.eval.open.calls import HEAD_BYTES
from kforge.eval.open.store import CudaStore
from kforge.eval.runner_main import RunnerBroken

HANDLE = Slot(HEAD_BYTES, cuda_driver.IPC_HANDLE_BYTES)
# The driver names its threads through /proc/self/task, and does not start where it may not.
_WRITTEN = ("/proc/self/task",)


def readable() -> list[str]:
    """Paths that the driver and its bindings read, beside the installation's."""
    bindings = Path(cuda_driver.driver().__file__).resolve().parent.parent.parent
    return [str(bindings), str(Path(torch.__file__).resolve().parent.parent), "/opt", "/etc/nvidia"]


def writable() -> list[str]:
    """The card's device files."""
    return [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("nvidia")] + list(_WRITTEN)


def own_store(index: int, size: int, arena: Arena) -> CudaStore:
    """Allocate this process's memory on the card and leave its handle in the arena.

    Raises:
        RunnerBroken: the card cannot be used, or has not enough memory.
    """
    try:
        device = cuda_driver.use_device(index)
        memory = cuda_driver.allocate(size)
        arena.view(HANDLE)[:] = cuda_driver.export_memory(memory)
    except (CudaFailed, RuntimeError) as error:
        raise RunnerBroken(f"the CUDA device cannot be used: {error}") from error
    return CudaStore(memory.bytes(device), device)
