"""What is said of a register in all lanes is true of every number that it may hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.eval import lanes
from kforge.eval.lanes import MASK, UNIFORM, WORD, Hidden, Known, Value

NUMBERS = st.one_of(st.integers(0, MASK), st.integers(0, 255), st.sampled_from([0, 1, 31, 32, 0xFFFFFFE0]))


@st.composite
def held(draw: st.DrawFn) -> tuple[Known, list[int]]:
    """A value and one set of numbers that it stands for."""
    align = draw(st.sampled_from([0, 2, 5, 8, 12, WORD]))
    kind = draw(st.sampled_from(["thread", "uniform", "any"]))
    start, step = draw(NUMBERS), draw(st.sampled_from([0, 1, 4, 16, 33, 128]))
    numbers = [(start if kind != "thread" else 0) + step * i for i in range(lanes.LANES)]
    if kind == "any":
        numbers = [draw(NUMBERS) for _ in range(4)] * 8
    value = lanes.known(numbers, align)
    base = draw(NUMBERS) << align & MASK
    return value, [(x + base) & MASK for x in value.lanes]


def holds(value: Value, numbers: list[int]) -> bool:
    if isinstance(value, Hidden):
        return True
    bases = {(n - x) & MASK for n, x in zip(numbers, value.lanes, strict=True)}
    return len(bases) == 1 and bases.pop() % (1 << value.align) == 0


def signed(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


BINARY: dict[str, tuple[Callable[[Value, Value], Value], Callable[[int, int], int]]] = {
    "add": (lanes.add, lambda x, y: x + y),
    "multiply": (lanes.multiply, lambda x, y: x * y),
    "shift_left": (lanes.shift_left, lambda x, y: x << y if y < WORD else 0),
    "shift_right": (
        lambda a, b: lanes.shift_right(a, b, signed=False), lambda x, y: x >> y if y < WORD else 0,
    ),
    "shift_right_signed": (
        lambda a, b: lanes.shift_right(a, b, signed=True), lambda x, y: signed(x) >> min(y, 31),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=300, deadline=None)
@given(a=held(), b=held(), small=st.integers(0, 40), use_small=st.booleans())
def test_arithmetic_holds(
    name: str, a: tuple[Known, list[int]], b: tuple[Known, list[int]], small: int, use_small: bool
) -> None:
    abstract, concrete = BINARY[name]
    other, numbers = (lanes.constant(small), [small] * lanes.LANES) if use_small or "shift" in name else b
    found = abstract(a[0], other)
    assert holds(found, [concrete(x, y) & MASK for x, y in zip(a[1], numbers, strict=True)])


@settings(max_examples=500, deadline=None)
@given(a=held(), b=held(), mask=NUMBERS, table=st.integers(0, 255), masked=st.booleans())
def test_logic_holds(
    a: tuple[Known, list[int]], b: tuple[Known, list[int]], mask: int, table: int, masked: bool
) -> None:
    second = (lanes.constant(mask), [mask] * lanes.LANES) if masked else b
    found = lanes.logic(a[0], second[0], lanes.ZERO, table)

    def bit(x: int, y: int, place: int) -> int:
        return table >> (4 * (x >> place & 1) + 2 * (y >> place & 1)) & 1

    numbers = [
        sum(bit(x, y, place) << place for place in range(WORD)) for x, y in zip(a[1], second[1], strict=True)
    ]
    assert holds(found, numbers)


@settings(max_examples=300, deadline=None)
@given(a=held(), b=held())
def test_a_meeting_holds_for_both_ways(a: tuple[Known, list[int]], b: tuple[Known, list[int]]) -> None:
    found = lanes.join(a[0], b[0], diverged=False)
    assert holds(found, a[1])
    assert holds(found, b[1])
    assert holds(lanes.negate(a[0]), [-x & MASK for x in a[1]])
    assert holds(lanes.invert(a[0]), [~x & MASK for x in a[1]])


def test_what_threads_usually_do_is_followed() -> None:
    thread = Known(tuple(range(32)), WORD)
    index = lanes.add(lanes.multiply(UNIFORM, lanes.constant(256)), thread)
    assert index == Known(tuple(range(32)), 8)
    low = lanes.logic(index, lanes.constant(7), lanes.ZERO, 0xC0)
    assert isinstance(low, Known)
    assert [x % 256 for x in low.lanes] == [i % 8 for i in range(32)]
    row = lanes.shift_right(index, lanes.constant(3), signed=False)
    assert row == Known(tuple(i // 8 for i in range(32)), 5)
    assert lanes.multiply(index, UNIFORM) is Hidden.STRIDE
    assert lanes.join(index, lanes.constant(1), diverged=False) is Hidden.LOST
    assert lanes.join(lanes.constant(4), lanes.constant(12), diverged=True) is Hidden.LOST
