"""Where a plan's storages lie during one call: the caller's tensors, fresh outputs, and one workspace.

Everything is allocated with torch's own allocator on the current stream, so that its lifetime rules hold:
on side streams, under CUDA graph capture, and for outputs that outlive the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_GIVEN = ("input", "param", "buffer")
_PART_ALIGN_BYTES = 256


class Layout:
    """The memory of one plan, sorted once.

    Attributes:
        given: storages that the caller fills, in the plan's order.
        zeros: (storage, bytes) to be set to zero before the first step.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.count = len(plan["storages"])
        self.tensors: Sequence[Mapping[str, Any]] = plan["tensors"]
        self.given = [s["id"] for s in plan["storages"] if s["role"] in _GIVEN]
        self.zeros = [
            (s["id"], int(s["bytes"])) for s in plan["storages"] if s["role"] == "zeros" and s["bytes"]
        ]
        self.outputs: Sequence[int] = plan["outputs"]
        self.dtypes: list[torch.dtype] = [getattr(torch, t["dtype"]) for t in self.tensors]
        self.storage_of: list[int] = [t["storage"] for t in self.tensors]
        self.byte_offset = [
            int(t["offset"]) * kind.itemsize for t, kind in zip(self.tensors, self.dtypes, strict=True)
        ]
        self.fresh: list[tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype]] = []
        self.parts: list[tuple[int, int]] = []
        self._sort(plan["storages"])

    def _sort(self, storages: Sequence[Mapping[str, Any]]) -> None:
        returned = {self.storage_of[tensor]: tensor for tensor in self.outputs}
        position, self.align = 0, _PART_ALIGN_BYTES
        for storage in storages:
            name, size = storage["id"], int(storage["bytes"])
            if storage["role"] in (*_GIVEN, "op"):
                continue
            if name in returned and self._covers(returned[name], size) and storage["align"] <= 64:
                tensor = self.tensors[returned[name]]
                shape, strides = tuple(tensor["shape"]), tuple(tensor["strides"])
                self.fresh.append((name, shape, strides, self.dtypes[returned[name]]))
            elif name in returned:  # an output owns its memory: it must not keep the workspace alive
                elements = (size + int(storage["align"]),)
                self.fresh.append((name, elements, (1,), torch.uint8))
                self.align = max(self.align, int(storage["align"]))
            else:
                align = max(_PART_ALIGN_BYTES, int(storage["align"]))
                position = -(-position // align) * align
                self.parts.append((name, position))
                position += size
                self.align = max(self.align, align)
        self.aligns = {s["id"]: int(s["align"]) for s in storages}
        self.workspace_bytes = position + self.align if self.parts else 0

    def bytes_of(self, tensor: int) -> int:
        """Bytes of a contiguous tensor."""
        return int(math.prod(self.tensors[tensor]["shape"])) * self.dtypes[tensor].itemsize

    def _covers(self, tensor: int, size: int) -> bool:
        described = self.tensors[tensor]
        if described["offset"]:
            return False
        pairs = zip(described["shape"], described["strides"], strict=True)
        elements = 0 if 0 in described["shape"] else 1 + sum((n - 1) * s for n, s in pairs)
        return elements * self.dtypes[tensor].itemsize >= size


class Memory:
    """The memory of one call.

    Attributes:
        addresses: storage id to the address of its first byte; 0 before an operator has made it.
    """

    def __init__(self, layout: Layout, given: Sequence[Tensor], device: torch.device) -> None:
        self._layout = layout
        self.addresses = [0] * layout.count
        self._held: dict[int, Tensor] = {}
        self._kept: list[Tensor] = []
        for storage, tensor in zip(layout.given, given, strict=True):
            self.hold(storage, tensor)
        for storage, shape, strides, dtype in layout.fresh:
            made = torch.empty_strided(shape, strides, dtype=dtype, device=device)
            align = layout.aligns[storage]
            self._held[storage] = made
            self.addresses[storage] = -(-made.data_ptr() // align) * align
        if layout.parts:
            workspace = torch.empty(layout.workspace_bytes, dtype=torch.uint8, device=device)
            start = -(-workspace.data_ptr() // layout.align) * layout.align
            for storage, offset in layout.parts:
                self._held[storage] = workspace
                self.addresses[storage] = start + offset

    def hold(self, storage: int, tensor: Tensor) -> None:
        """Put a tensor behind a storage; its first element is the storage's first byte."""
        self._held[storage] = tensor
        self.addresses[storage] = tensor.data_ptr()

    def keep(self, tensor: Tensor) -> None:
        """Hold memory that only kernels of this call look at until all of them are enqueued."""
        self._kept.append(tensor)

    def address(self, tensor: int) -> int:
        """Address of a tensor's first element."""
        return self.addresses[self._layout.storage_of[tensor]] + self._layout.byte_offset[tensor]

    def tensor(self, number: int) -> Tensor:
        """A tensor of the plan as torch's; shares its memory."""
        layout, described = self._layout, self._layout.tensors[number]
        storage, dtype = layout.storage_of[number], layout.dtypes[number]
        held, shape, strides = self._held[storage], tuple(described["shape"]), tuple(described["strides"])
        offset = self.address(number) - held.data_ptr()
        if offset == 0 and held.dtype is dtype and tuple(held.shape) == shape and held.stride() == strides:
            return held
        whole = held.untyped_storage()
        start = (self.address(number) - whole.data_ptr()) // dtype.itemsize
        return torch.empty(0, dtype=dtype, device=held.device).set_(whole, start, shape, strides)

    def outputs(self) -> tuple[Tensor, ...]:
        """What the plan returns."""
        return tuple(self.tensor(number) for number in self._layout.outputs)
