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


@dataclass(frozen=True, slots=True)
class ModuleObject:
    """One variable or table of a module in device memory."""

    name: str
    address: int
    size: int


class ModuleImage:
    """The objects of one loaded module and their first bytes.

    Args:
        module: the driver's module.
        image: the cubin that it was loaded from.

    Attributes:
        unread: names that the driver does not give an address for.

    Raises:
        ValueError: the cubin is not well-formed.
        CudaFailed: the device cannot be read.
    """

    def __init__(self, module: Any, image: bytes) -> None:  # noqa: ANN401
        self.objects, self.unread = _locate(module, cubin.parse(image).variables)
        self._first = [_read(found) for found in self.objects]

    def changed(self) -> str | None:
        """The first object that is not what it was, in words; None if all are.

        Raises:
            CudaFailed: the device cannot be read.
        """
        for found, first in zip(self.objects, self._first, strict=True):
            now = _read(found)
            if now != first:
                at = next(i for i, (a, b) in enumerate(zip(first, now, strict=True)) if a != b)
                return (
                    f"{found.name}, {found.size} bytes that belong to the module itself, changed at {at}; "
                    "kernels keep nothing but through buffers of the plan"
                )
        return None


def _locate(
    module: Any,  # noqa: ANN401
    variables: Sequence[cubin.Variable],
) -> tuple[list[ModuleObject], list[str]]:
    found: dict[str, ModuleObject] = {}
    unread: list[str] = []
    for variable in variables:
        if variable.size == 0 or variable.name in found or not variable.in_memory:
            continue
        try:
            address, size = call(
                driver().cuModuleGetGlobal(module, variable.name.encode()), f"object {variable.name!r}"
            )
        except CudaFailed:
            unread.append(variable.name)
            continue
        found[variable.name] = ModuleObject(variable.name, int(address), int(size))
    return list(found.values()), unread


def _read(found: ModuleObject) -> bytes:
    host = (ctypes.c_char * found.size)()
    call(
        driver().cuMemcpyDtoH(ctypes.addressof(host), found.address, found.size),
        f"reading {found.size} bytes of {found.name}",
    )
    return host.raw
