"""The shared memory keeps its size whatever a runner does to the file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kforge.eval.arena import ALIGN_BYTES, GUARD_BYTES, Arena, Slot, lay_out


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena.create(10_000)
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_a_runner_can_neither_shrink_nor_grow_it(arena: Arena, size: int) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os.ftruncate(arena.descriptor, size)
        except PermissionError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert os.fstat(arena.descriptor).st_size == arena.size
    assert bytes(arena.view(Slot(arena.size - 8, 8))) == bytes(8)


def test_what_one_side_writes_the_other_reads(arena: Arena) -> None:
    other = Arena(os.dup(arena.descriptor), arena.size)
    arena.view(Slot(4096, 3))[:] = b"abc"
    assert bytes(other.view(Slot(4096, 3))) == b"abc"
    other.close()


@pytest.mark.parametrize("guard_bytes", [0, GUARD_BYTES])
def test_slots_and_their_guard_zones_do_not_overlap_and_fit(guard_bytes: int) -> None:
    layout = lay_out([5, 0, 4097, 1], guard_bytes)
    ends = 0
    for slot in layout.slots:
        assert slot.offset % ALIGN_BYTES == 0
        assert slot.offset - guard_bytes >= ends
        ends = slot.offset + slot.size + guard_bytes
    assert layout.size >= ends


def test_closing_with_a_view_alive_is_no_error() -> None:
    made = Arena.create(100)
    view = made.view(Slot(0, 4))
    made.close()
    view[:] = b"data"
    assert bytes(view) == b"data"
