"""What a register may hold in the 32 lanes of one warp, as far as machine code says it without running.

A ``Known`` value is one number per lane plus a base that all lanes share and nobody knows, except that it is
a multiple of ``2**align``; with ``align`` 32 there is no base and the numbers are exact. Block indices,
parameters and loop counters are of this kind, so ``blockIdx.x * 256 + threadIdx.x`` keeps its distances
between lanes, its low eight bits even exactly. Arithmetic is that of 32-bit registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from kforge.diagnosis_types import UnseenReason

WORD = 32
MASK = (1 << WORD) - 1
LANES = 32


@dataclass(frozen=True, slots=True)
class Known:
    """``lanes[i]`` plus a common multiple of ``2**align``."""

    lanes: tuple[int, ...]
    align: int

    @property
    def uniform(self) -> bool:
        """Whether all lanes hold the same."""
        return self.lanes.count(self.lanes[0]) == len(self.lanes)

    @property
    def constant(self) -> int | None:
        """The number, where it is exact and the same in all lanes."""
        return self.lanes[0] if self.align == WORD and self.uniform else None


class Hidden(Enum):
    """What cannot be followed, and why."""

    STRIDE = "run_time_stride"  # lanes differ by a multiple of something that is known when it runs
    DATA = "depends_on_data"  # loaded from memory, or got from another lane
    LOST = "not_followed"  # an instruction that this reader does not model

    @property
    def reason(self) -> UnseenReason:
        """As facts name it."""
        match self:
            case Hidden.STRIDE:
                return "run_time_stride"
            case Hidden.DATA:
                return "depends_on_data"
            case Hidden.LOST:
                return "not_followed"
            case _:
                assert_never(self)


Value = Known | Hidden


def constant(number: int) -> Known:
    """The same exact number in all lanes."""
    return Known((number & MASK,) * LANES, WORD)


ZERO = constant(0)
# The same in all lanes; nothing else is known.
UNIFORM = Known((0,) * LANES, 0)


def is_uniform(value: Value) -> bool:
    """Whether all lanes certainly hold the same."""
    return isinstance(value, Known) and value.uniform


def worst(values: Sequence[Value]) -> Hidden:
    """Why a result of these is hidden: data before lost before stride."""
    hidden = [value for value in values if isinstance(value, Hidden)]
    for why in (Hidden.DATA, Hidden.LOST, Hidden.STRIDE):
        if why in hidden:
            return why
    return Hidden.LOST


def trailing_zeros(number: int) -> int:
    """Of a 32-bit number; 32 for zero."""
    number &= MASK
    return (number & -number).bit_length() - 1 if number else WORD


def known(lanes: Sequence[int], align: int) -> Known:
    """With its numbers cut to 32 bits."""
    return Known(tuple(lane & MASK for lane in lanes), align)


def add(a: Value, b: Value) -> Value:
    """Sum."""
    if isinstance(a, Known) and isinstance(b, Known):
        pairs = zip(a.lanes, b.lanes, strict=True)
        return known([x + y for x, y in pairs], min(a.align, b.align))
    return worst((a, b))


def negate(a: Value) -> Value:
    """The number that adds up to zero with it."""
    return known([-x for x in a.lanes], a.align) if isinstance(a, Known) else a


def invert(a: Value) -> Value:
    """All bits turned, which is -a - 1."""
    return add(negate(a), constant(MASK))


def multiply(a: Value, b: Value) -> Value:
    """Low 32 bits of the product."""
    for one, other in ((a, b), (b, a)):
        factor = one.constant if isinstance(one, Known) else None
        if factor == 0:
            return ZERO
        if factor is not None:
            if isinstance(other, Hidden):
                return other
            return known([x * factor for x in other.lanes], min(WORD, other.align + trailing_zeros(factor)))
    if isinstance(a, Known) and isinstance(b, Known):
        if a.align == b.align == WORD:
            return known([x * y for x, y in zip(a.lanes, b.lanes, strict=True)], WORD)
        if a.uniform and b.uniform:
            zeros = min(a.align, trailing_zeros(a.lanes[0])) + min(b.align, trailing_zeros(b.lanes[0]))
            return Known(UNIFORM.lanes, min(zeros, WORD - 1))
        return Hidden.STRIDE if a.uniform or b.uniform else Hidden.LOST
    return worst((a, b))


def shift_left(a: Value, bits: Value) -> Value:
    """Shift to the left; 0 from 32 bits on."""
    by = bits.constant if isinstance(bits, Known) else None
    if by is None:
        return UNIFORM if is_uniform(a) and is_uniform(bits) else worst((a, bits))
    return ZERO if by >= WORD else multiply(a, constant(1 << by))


def shift_right(a: Value, bits: Value, *, signed: bool) -> Value:
    """Shift to the right, where it is known what the lower bits carry."""
    by = bits.constant if isinstance(bits, Known) else None
    if not isinstance(a, Known) or by is None:
        return UNIFORM if is_uniform(a) and is_uniform(bits) else worst((a, bits))
    if a.align == WORD:
        by = min(by, WORD - 1 if signed else WORD)
        return known([(_signed(x) if signed else x) >> by for x in a.lanes], WORD)
    if a.uniform:
        return UNIFORM
    # The base is a multiple of 2**align, and no lane carries into it: both parts are shifted on their own.
    if all(x < 1 << a.align for x in a.lanes):
        return known([x >> by for x in a.lanes], a.align - by) if by <= a.align else UNIFORM
    return Hidden.LOST


def logic(a: Value, b: Value, c: Value, table: int) -> Value:
    """The three-input bitwise function whose truth table is ``table`` (bit index 4a + 2b + c)."""
    if not (isinstance(a, Known) and isinstance(b, Known) and isinstance(c, Known)):
        return _masked((a, b, c), table)
    align = min(v.align for v in (a, b, c))
    low = (1 << align) - 1
    if align < WORD:
        # Below ``align`` all bits are known; above, lanes must agree, each input with itself.
        for value in (a, b, c):
            if len({x >> align for x in value.lanes}) > 1:
                return UNIFORM if all(v.uniform for v in (a, b, c)) else Hidden.LOST
        high = _high_bits((a, b, c), table, low)
    else:
        high = 0
    triples = zip(a.lanes, b.lanes, c.lanes, strict=True)
    numbers = [_looked_up(x, y, z, table) & low for x, y, z in triples]
    return known(numbers, align) if high is None else known([n | high for n in numbers], WORD)


def _high_bits(values: tuple[Known, Known, Known], table: int, low: int) -> int | None:
    """The bits above ``low`` of a result, where those of unknown bases decide nothing (a mask took them)."""
    choices = [(v.lanes[0],) if v.align == WORD else (0, MASK) for v in values]
    found = {
        _looked_up(x, y, z, table) & ~low & MASK for x in choices[0] for y in choices[1] for z in choices[2]
    }
    return found.pop() if len(found) == 1 else None


def _masked(values: tuple[Value, Value, Value], table: int) -> Value:
    """A hidden value under logic stays hidden; only a constant that decides the result helps."""
    constants = [v.constant if isinstance(v, Known) else None for v in values]
    outcomes = {
        table >> (4 * x + 2 * y + z) & 1
        for x in _bits(constants[0]) for y in _bits(constants[1]) for z in _bits(constants[2])
    }  # fmt: skip
    return ZERO if outcomes == {0} else worst(values)


def _bits(number: int | None) -> tuple[int, ...]:
    match number:
        case 0:
            return (0,)
        case 0xFFFFFFFF:
            return (1,)
        case _:
            return (0, 1)


def _looked_up(x: int, y: int, z: int, table: int) -> int:
    result = 0
    for row in range(8):
        if table >> row & 1:
            part = x if row & 4 else ~x
            part &= y if row & 2 else ~y
            result |= part & (z if row & 1 else ~z)
    return result & MASK


def _signed(number: int) -> int:
    return number - (1 << WORD) if number >> (WORD - 1) else number


def join(a: Value, b: Value, *, diverged: bool) -> Value:
    """What holds where two ways through the code meet.

    Args:
        a: by the one way; the result keeps its numbers.
        b: by the other.
        diverged: lanes of one warp may have come both ways, so each may hold either value.
    """
    if a == b:
        return a
    match a, b:
        case Known(), Known():
            gaps = {(x - y) & MASK for x, y in zip(a.lanes, b.lanes, strict=True)}
            if len(gaps) == 1 and not diverged:
                return Known(a.lanes, min(a.align, b.align, trailing_zeros(gaps.pop())))
            return Hidden.LOST
        case (Hidden(), Known()) | (Known(), Hidden()) | (Hidden(), Hidden()):
            return worst((a, b))
        case _ as never:
            assert_never(never)  # type: ignore[arg-type]  # tuples do not narrow
