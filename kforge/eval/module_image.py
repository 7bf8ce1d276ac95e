"""What a loaded CUDA module's own objects hold, compared with what they held before anything was launched.

A store through a generic pointer reaches constant tables, and tables of the compiler lie in writable memory:
a kernel can leave something there for its next launch. Whatever the module defines is read after loading and
again after runs, and compared byte for byte. The first reading is the load image itself, relocated.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kforge.eval import cubin
from kforge.eval.cuda_driver import CudaFailed, call, driver

# Objects lie at multiples of this; nearer ones are read in one piece, with what lies between them.
STEP_BYTES = 256


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring objects of a module in device memory.

    Attributes:
        names: (offset, size, name) of each, in address order.
    """

    address: int
    size: int
    names: tuple[tuple[int, int, str], ...]

    def name_at(self, offset: int) -> str:
        """Which object a byte belongs to; what lies between two counts for the one before it."""
        return next(name for start, _, name in reversed(self.names) if start <= offset)


class ModuleImage:
    """The objects of one loaded module and their first bytes.

    Args:
        module: the driver's module.
        image: the cubin that it was loaded from.

    Raises:
        ValueError: the cubin is not well-formed.
        CudaFailed: the device cannot be read.
    """

    def __init__(self, module: Any, image: bytes) -> None:  # noqa: ANN401
        self.stretches = join(_locate(module, cubin.parse(image).variables))
        self._first = [_read(found) for found in self.stretches]

    def changed(self) -> str | None:
        """The first object that is not what it was, in words; None if all are.

        Raises:
            CudaFailed: the device cannot be read.
        """
        for found, first in zip(self.stretches, self._first, strict=True):
            now = _read(found)
            if now != first:
                at = next(i for i, (a, b) in enumerate(zip(first, now, strict=True)) if a != b)
                return (
                    f"{found.name_at(at)}, which belongs to the module itself, changed while kernels ran; "
                    "nothing is kept between launches but through buffers of the plan"
                )
        return None


@dataclass(frozen=True, slots=True, order=True)
class Located:
    """One object and the allocation that it lies in: no reading crosses from one into another."""

    address: int
    size: int
    name: str
    allocation: int


def join(objects: Sequence[Located]) -> list[Stretch]:
    """Neighbours of one allocation together."""
    found: list[Stretch] = []
    allocation: int | None = None
    for entry in sorted(set(objects)):
        address, size, name = entry.address, entry.size, entry.name
        last = found[-1] if found and entry.allocation == allocation else None
        allocation = entry.allocation
        if last is None or address > last.address + last.size + STEP_BYTES:
            found.append(Stretch(address, size, ((0, size, name),)))
        else:
            end = max(last.address + last.size, address + size)
            names = (*last.names, (address - last.address, size, name))
            found[-1] = Stretch(last.address, end - last.address, names)
    return found


def _locate(
    module: Any,  # noqa: ANN401
    variables: Sequence[cubin.Variable],
) -> list[Located]:
    found = []
    for variable in variables:
        if variable.size and variable.in_memory:
            try:
                address, size = call(
                    driver().cuModuleGetGlobal(module, variable.name.encode()), f"object {variable.name!r}"
                )
            except CudaFailed:  # optimised away, or a name that the driver keeps to itself
                continue
            try:
                allocation, _ = call(driver().cuMemGetAddressRange(address), "an object's allocation")
            except CudaFailed:  # then it is read alone
                allocation = address
            found.append(Located(int(address), int(size), variable.name, int(allocation)))
    return found


def _read(found: Stretch) -> bytes:
    host = (ctypes.c_char * found.size)()
    call(
        driver().cuMemcpyDtoH(ctypes.addressof(host), found.address, found.size),
        f"reading {found.size} bytes of the module",
    )
    return host.raw
