"""The CUDA driver behind kforge, through cuda.bindings: memory, sharing, modules, launches.

One home for ``cuda.bindings``. Everything here needs a current context, which torch's initialisation of a
device makes (``use_device``), so that kernels and library operators share one.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kforge.errors import MissingPrerequisite
from kforge.eval.cuda_layout import BLOCK_BYTES

PIP_LINE = "pip install 'kforge[cuda]'"
IPC_HANDLE_BYTES = 64


class CudaFailed(Exception):
    """A driver call failed; the text names the call and the driver's error."""

    def __init__(self, what: str, error: str) -> None:
        super().__init__(f"{what}: {error}")
        self.error = error


def driver() -> Any:  # noqa: ANN401 - the bindings carry no types
    """The bindings module.

    Raises:
        MissingPrerequisite: the cuda extra is not installed.
    """
    try:
        from cuda.bindings import driver as bindings
    except ImportError as error:
        raise MissingPrerequisite(
            "The CUDA bindings (wheel cuda-bindings) are not installed.", PIP_LINE
        ) from error
    return bindings


def call(result: tuple[Any, ...], what: str) -> Any:  # noqa: ANN401
    """The values of a driver call.

    Raises:
        CudaFailed: the call did not succeed.
    """
    status, *values = result
    if int(status) != 0:
        raise CudaFailed(what, getattr(status, "name", str(status)))
    return values[0] if len(values) == 1 else tuple(values)


def use_device(index: int) -> torch.device:
    """Make the primary context of a device current, shared with torch.

    Raises:
        CudaFailed: the driver refuses.
        RuntimeError: torch cannot use the device.
    """
    call(driver().cuInit(0), "cuInit")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    torch.cuda.init()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    context = call(driver().cuDevicePrimaryCtxRetain(index), "cuDevicePrimaryCtxRetain")
    call(driver().cuCtxSetCurrent(context), "cuCtxSetCurrent")
    return device


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """A stretch of device memory: its own, or another process's mapped here."""

    address: int
    size: int

    def bytes(self, device: torch.device) -> Tensor:
        """All of it as a uint8 tensor; shares the memory."""
        return torch.as_tensor(_ArrayView(self.address, self.size), device=device)


class _ArrayView:
    """The CUDA array interface over raw memory (version 3 of numba's page on it)."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3, "strides": None,
        }  # fmt: skip


def allocate(size: int) -> DeviceMemory:
    """Dedicated device memory, in whole blocks.

    Raises:
        CudaFailed: there is not enough.
    """
    rounded = -(-max(size, 1) // BLOCK_BYTES) * BLOCK_BYTES
    address = int(call(driver().cuMemAlloc(rounded), f"allocating {rounded} bytes"))
    return DeviceMemory(address, rounded)


def fill(address: int, value: int, size: int, stream: int) -> None:
    """Set ``size`` bytes to ``value`` on a stream; a built-in of the driver, so nothing is loaded lazily.

    Raises:
        CudaFailed: the driver refuses, or earlier work on the device has failed.
    """
    call(driver().cuMemsetD8Async(address, value, size, stream), f"filling {size} bytes")


def export_memory(memory: DeviceMemory) -> bytes:
    """A handle with which another process can map this memory."""
    handle = call(driver().cuIpcGetMemHandle(memory.address), "cuIpcGetMemHandle")
    return ctypes.string_at(handle.getPtr(), IPC_HANDLE_BYTES)


def import_memory(handle: bytes, size: int) -> DeviceMemory:
    """Map another process's memory into this one.

    Raises:
        CudaFailed: the handle is not one, or its process is gone.
        ValueError: the handle has the wrong length.
    """
    if len(handle) != IPC_HANDLE_BYTES:
        raise ValueError(f"an IPC handle has {IPC_HANDLE_BYTES} bytes, this has {len(handle)}")
    opaque = driver().CUipcMemHandle()
    ctypes.memmove(opaque.getPtr(), handle, IPC_HANDLE_BYTES)
    lazily = driver().CUipcMem_flags.CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS
    memory = DeviceMemory(int(call(driver().cuIpcOpenMemHandle(opaque, lazily), "cuIpcOpenMemHandle")), size)
    # What was exported may be smaller than what was agreed on: a copy past its end would fault in here.
    _, found = call(driver().cuMemGetAddressRange(memory.address), "cuMemGetAddressRange")
    if int(found) < size:
        close_memory(memory)
        raise CudaFailed("importing memory", f"it has {int(found)} bytes, {size} were agreed on")
    return memory


def close_memory(memory: DeviceMemory) -> None:
    """Unmap another process's memory; its death does not matter."""
    driver().cuIpcCloseMemHandle(memory.address)


def load_module(image: bytes) -> Any:  # noqa: ANN401
    """Load a cubin into the current context.

    Raises:
        CudaFailed: the driver refuses it.
    """
    return call(driver().cuModuleLoadData(image), "loading the module")


def kernel_of(module: Any, name: str) -> Any:  # noqa: ANN401
    """A kernel of a loaded module.

    Raises:
        CudaFailed: it has none of that name.
    """
    return call(driver().cuModuleGetFunction(module, name.encode()), f"kernel {name!r}")


def reset_persisting_l2() -> None:
    """Make every L2 line ordinary again: ``evict_last`` lines survive flushes of any size."""
    call(driver().cuCtxResetPersistingL2Cache(), "cuCtxResetPersistingL2Cache")
