"""Neighbouring objects of a module are read together, and a changed byte is named."""

from __future__ import annotations

from kforge.eval.module_image import Located, Stretch, join


def test_neighbours_are_joined_and_strangers_are_not() -> None:
    a, b, c = Located(0x1000, 64, "a", 0), Located(0x1100, 4, "b", 0), Located(0x9000, 16, "c", 0)
    assert join([b, a, c, a]) == [
        Stretch(0x1000, 0x104, ((0, 64, "a"), (0x100, 4, "b"))),
        Stretch(0x9000, 16, ((0, 16, "c"),)),
    ]


def test_no_reading_crosses_from_one_allocation_into_the_next() -> None:
    a, b = Located(0x1000, 256, "a", 0x1000), Located(0x1100, 4, "b", 0x1100)
    assert [found.size for found in join([a, b])] == [256, 4]


def test_a_byte_is_named_by_its_object() -> None:
    stretch = join([Located(0x1000, 64, "a", 0), Located(0x1100, 4, "b", 0)])[0]
    assert [stretch.name_at(at) for at in (0, 63, 200, 0x100, 0x103)] == ["a", "a", "a", "b", "b"]


def test_many_objects_are_few_readings() -> None:
    assert len(join([Located(0x7F000000 + 256 * n, 8, f"n{n}", 0) for n in range(700)])) == 1
