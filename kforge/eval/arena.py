"""Shared memory between the verifier and one runner: inputs go out, outputs come back, nothing else.

A memfd that both sides map. On a CPU device the runner's buffers lie in it, so that the verifier itself
writes values, poison and guard zones, and reads them, while the runner stands still; elsewhere the runner
copies between it and the device. References, seeds and tolerances never enter it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass

GUARD_BYTES = 4096
GUARD_PATTERN = 0xF9  # as float32 a large negative number, as an index far out of range
ALIGN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Slot:
    """A byte range of the arena."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies.

    Attributes:
        slots: one per buffer, in the order asked for.
        size: bytes in all.
    """

    slots: tuple[Slot, ...]
    size: int


def lay_out(sizes: Sequence[int], guard_bytes: int = 0) -> Layout:
    """Place buffers, each page-aligned, with a guard zone directly before and directly after it.

    Args:
        sizes: bytes of each.
        guard_bytes: size of a guard zone, a multiple of a page.
    """
    position = 0
    slots: list[Slot] = []
    for size in sizes:
        slots.append(Slot(position + guard_bytes, size))
        whole = 2 * guard_bytes + max(size, 1)
        position += -(-whole // ALIGN_BYTES) * ALIGN_BYTES
    return Layout(tuple(slots), position)


class Arena:
    """One mapping of the shared memory. Close it before the process that owns the memfd goes on."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size
        self.memory = mmap.mmap(descriptor, size)

    @classmethod
    def create(cls, size: int) -> Arena:
        """Make a fresh, sealed-size arena.

        Raises:
            OSError: no memory for it.
        """
        descriptor = os.memfd_create("kforge-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, max(size, ALIGN_BYTES))
        # A runner that shrank the file would take the verifier down with a bus error.
        fcntl.fcntl(
            descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
        return cls(descriptor, max(size, ALIGN_BYTES))

    def view(self, slot: Slot) -> memoryview:
        """The bytes of one slot, writable."""
        return memoryview(self.memory)[slot.offset : slot.offset + slot.size]

    def close(self) -> None:
        """Unmap and close; views still held by others keep the mapping alive until they go."""
        # Where a tensor still looks at it, the memory goes with that tensor.
        with contextlib.suppress(BufferError):
            self.memory.close()
        os.close(self.descriptor)
