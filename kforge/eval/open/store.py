"""Where the values of a call lie: in the arena on the host, in memory that the child exports on a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from kforge.eval.arena import Arena, Slot


class Store(Protocol):
    """The bytes behind slots."""

    def bytes(self, slot: Slot) -> Tensor:
        """A slot's bytes; shares the memory."""
        ...

    def finish(self) -> None:
        """Wait until what was begun on the device is done."""
        ...


class HostStore:
    """The arena itself."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena

    def bytes(self, slot: Slot) -> Tensor:
        """A tensor of its own storage, no larger than the slot."""
        if slot.size == 0:
            return torch.empty(0, dtype=torch.uint8)
        return torch.frombuffer(self._arena.view(slot), dtype=torch.uint8)

    def finish(self) -> None:
        """Nothing runs behind the host's back."""


class CudaStore:
    """One dedicated allocation on a card, this process's own or another's mapped here."""

    def __init__(self, memory: Tensor, device: torch.device) -> None:
        self._memory, self._device = memory, device

    def bytes(self, slot: Slot) -> Tensor:
        """A stretch of the allocation."""
        return self._memory[slot.offset : slot.offset + slot.size]

    def finish(self) -> None:
        """Wait for the card."""
        torch.cuda.synchronize(self._device)


def shaped(
    store: Store, slot: Slot, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """What lies in a slot, as a tensor; shares the memory.

    Args:
        store: that holds it.
        slot: large enough for the layout.
        dtype: of the elements.
        shape: as torch's.
        strides: count elements.
    """
    found = store.bytes(slot)
    if slot.size == 0:
        return torch.empty_strided(shape, strides, dtype=dtype, device=found.device)
    flat = found[: slot.size - slot.size % dtype.itemsize].view(dtype)
    return flat.as_strided(shape, strides, flat.storage_offset())
