"""Shared memory between the verifier and one runner: inputs go out, outputs come back, nothing else.

A memfd that both sides map. The verifier writes inputs and parameters; the runner copies them into its own
buffers, and copies back outputs, the inputs as it found them after the run, and the guard zones. References,
seeds and tolerances never enter it.
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
        given: one slot per input, parameter and buffer, in the plan's storage order.
        outputs: one slot per output, its whole storage.
        after: the given values as the runner found them after the run.
        guards: guard zones of all of the runner's storages, two per storage.
        size: bytes in all.
    """

    given: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    after: tuple[Slot, ...]
    guards: Slot
    size: int


def lay_out(given_bytes: Sequence[int], output_bytes: Sequence[int], guarded_storages: int) -> Layout:
    """Place all slots, page-aligned."""
    position = 0

    def take(size: int) -> Slot:
        nonlocal position
        slot = Slot(position, size)
        position += -(-max(size, 1) // ALIGN_BYTES) * ALIGN_BYTES
        return slot

    given = tuple(take(size) for size in given_bytes)
    outputs = tuple(take(size) for size in output_bytes)
    after = tuple(take(size) for size in given_bytes)
    guards = take(2 * GUARD_BYTES * guarded_storages)
    return Layout(given, outputs, after, guards, position)


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
