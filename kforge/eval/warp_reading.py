"""One machine instruction as values in lanes: its operands read, its result worked out where it is modelled.

Only what addresses are made of is modelled: moves, integer sums, products, shifts and bitwise logic. Anything
else gives the same in all lanes if all it reads is the same in all lanes, and is hidden if not.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kforge.eval import lanes
from kforge.eval.lanes import MASK, UNIFORM, WORD, ZERO, Hidden, Known, Value
from kforge.eval.sass import Instruction

_REGISTER = re.compile(r"U?R(\d+|Z)")
_PREDICATE = re.compile(r"!?U?P(\d|T)\Z")
_CONSTANT = re.compile(r"c\[0x0\]\[(?:U?RZ|(0x[0-9a-f]+))\]\Z")
_NUMBER = re.compile(r"0x[0-9a-f]+\Z")
_WIDTH = re.compile(r"\.(64|128|256|U8|S8|U16|S16)\b")
_WIDTH_BYTES = {"64": 8, "128": 16, "256": 32, "U8": 1, "S8": 1, "U16": 2, "S16": 2}
_MATRIX = re.compile(r"U?(HMMA|IMMA|QMMA|OMMA|DMMA)\b")
_WARPGROUP = re.compile(r"[HIQB]GMMA\b")
LOADS = ("LDG", "LD", "LDS", "LDL", "LDSM", "ATOM", "ATOMG", "ATOMS", "SHFL", "LDTM")
_SYSTEM = {"SR_TID.X": 0, "SR_TID.Y": 1, "SR_TID.Z": 2, "SR_LANEID": 3}


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand as text without modifiers, and what is done to it first."""

    text: str
    negated: bool
    inverted: bool
    register: str | None

    @property
    def predicate(self) -> bool:
        """Whether it is a predicate."""
        return _PREDICATE.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class Decoded:
    """An instruction taken apart.

    Attributes:
        name: the opcode without modifiers, and without the U of the uniform datapath.
        writes: registers that it sets, the first holds the low word.
        sets: predicates that it sets.
        sources: operands that it reads, predicates left out.
        conditions: predicates that it reads.
        last: its last operand as text; it tells a minimum (PT) from a maximum (!PT).
    """

    name: str
    opcode: str
    guard: str
    writes: tuple[str, ...]
    sets: tuple[str, ...]
    sources: tuple[Operand, ...]
    conditions: tuple[str, ...]
    last: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a launch makes known.

    Attributes:
        threads: values of threadIdx.x, .y, .z and the lane's number in the first warp.
        constants: byte offset in the first constant bank to its value.
    """

    threads: tuple[Value, Value, Value, Value]
    constants: Mapping[int, Value]


def width_bytes(opcode: str) -> int:
    """Bytes per thread of a memory instruction."""
    found = _WIDTH.search(opcode)
    return _WIDTH_BYTES[found[1]] if found else 4


@lru_cache(maxsize=1 << 16)
def operand(text: str) -> Operand:
    """Read one operand."""
    bare = text.strip().replace(".reuse", "")
    negated = bare.startswith("-")
    inverted = bare.startswith("~")
    bare = bare.lstrip("-~").strip("|")
    found = _REGISTER.match(bare)
    if found is None:
        return Operand(bare, negated, inverted, None)
    rest = bare[found.end() :]
    # A part of a register (.H1, .B2) is not its value; a width or a sign is.
    whole = rest in ("", ".64", ".U32", ".X4", ".X8", ".X16", ".X2")
    return Operand(bare, negated, inverted, found[0] if whole else "part")


@lru_cache(maxsize=1 << 16)
def decoded(entry: Instruction) -> Decoded:
    """Take an instruction apart."""
    base = entry.name
    name = base[1:] if base.startswith("U") and base[1:] in MODELLED else base
    texts = [part.strip() for part in entry.operands.split(",")] if entry.operands else []
    stores = base.startswith(("ST", "RED", "BAR", "BRA", "EXIT", "CCTL", "SUST", "UTMA", "UBLK", "LDGSTS"))
    operands = [operand(text) for text in texts]
    sets: list[str] = []
    writes: tuple[str, ...] = ()
    rest = operands
    if not stores:
        only_predicates = base.endswith(("SETP", "PLOP3", "CHK"))
        awaited, most = not only_predicates, 2 if only_predicates else 3
        while rest and len(operands) - len(rest) < most:
            if rest[0].predicate:
                sets += [rest[0].text] * (not rest[0].text.endswith("T"))
            elif awaited and rest[0].register is not None:
                writes, awaited = _written(entry, rest[0]), False
            else:
                break
            rest = rest[1:]
    sources = tuple(o for o in rest if not o.predicate)
    conditions = tuple(o.text.lstrip("!") for o in rest if o.predicate and not o.text.endswith("T"))
    guard = "" if entry.guard.endswith("PT") else entry.guard
    last = texts[-1] if texts else ""
    return Decoded(name, entry.opcode, guard, writes, tuple(sets), sources, conditions, last)


def _written(entry: Instruction, head: Operand) -> tuple[str, ...]:
    found = _REGISTER.match(head.text)
    if found is None or found[1] == "Z":
        return ()
    prefix, first = head.text[: found.start(1)], int(found[1])
    return tuple(f"{prefix}{first + step}" for step in range(_width(entry)))


def _width(entry: Instruction) -> int:
    """How many registers an instruction writes."""
    name, opcode = entry.name, entry.opcode
    if name.startswith("LD") or name in ("ATOM", "ATOMG", "ULDC"):
        if name == "LDSM":
            return int(opcode[-1]) if opcode[-1].isdigit() else 1
        return max(1, width_bytes(opcode) // 4)
    if _WARPGROUP.match(opcode):
        return 128
    if _MATRIX.match(opcode):
        return 4
    if ".WIDE" in opcode or ".64" in opcode or (name.startswith("D") and name != "DEPBAR"):
        return 2
    return 2 if name == "CS2R" and ".32" not in opcode else 1


def read(source: Operand, registers: Mapping[str, Value], around: Surroundings) -> Value:
    """What an operand holds."""
    value = _plain(source, registers, around)
    if source.inverted:
        return lanes.invert(value)
    return lanes.negate(value) if source.negated else value


def _plain(source: Operand, registers: Mapping[str, Value], around: Surroundings) -> Value:
    text = source.text
    if source.register == "part":
        return (
            UNIFORM if lanes.is_uniform(registers.get(text.partition(".")[0], Hidden.LOST)) else Hidden.LOST
        )
    if source.register is not None:
        if source.register.endswith("Z"):
            return ZERO
        # Registers of the uniform datapath are the same in all lanes by construction.
        missing: Value = UNIFORM if source.register.startswith("U") else Hidden.LOST
        return registers.get(source.register, missing)
    if _NUMBER.match(text):
        return lanes.constant(int(text, 16))
    fixed = _CONSTANT.match(text)
    if fixed:
        return around.constants.get(int(fixed[1], 16) if fixed[1] else 0, UNIFORM)
    if text.startswith("SR_"):
        return around.threads[_SYSTEM[text]] if text in _SYSTEM else UNIFORM
    if text.startswith(("c[", "cx[")):
        inner = _REGISTER.findall(text.rpartition("[")[2])
        return UNIFORM if not inner or text.startswith("cx") else _indexed(text, registers)
    return UNIFORM


def _indexed(text: str, registers: Mapping[str, Value]) -> Value:
    name = _REGISTER.search(text.rpartition("[")[2])
    held = registers.get(name[0], Hidden.LOST) if name else UNIFORM
    uniform = lanes.is_uniform(held) or bool(name and name[0].startswith("U"))
    return UNIFORM if uniform else Hidden.DATA


def result(of: Decoded, values: Sequence[Value]) -> Value:
    """The low word of what an instruction makes of its operands."""
    modelled = MODELLED.get(of.name)
    if modelled is not None:
        try:
            found = modelled(of, values)
        except IndexError:  # fewer operands than this form has
            found = None
        if found is not None:
            return found
    if of.name.startswith(LOADS) or _MATRIX.match(of.opcode) or of.name.endswith("GMMA"):
        # One address holds one value, but local memory is every thread's own, and LD may mean it.
        same = of.name in ("LDG", "LDS") and all(lanes.is_uniform(v) for v in values)
        return UNIFORM if same else Hidden.DATA
    return UNIFORM if all(lanes.is_uniform(v) for v in values) else _lost(values)


def goes_together(of: Decoded, values: Sequence[Value]) -> bool:
    """Whether the lanes of a usual warp agree on a comparison.

    Exact numbers are compared. What depends on the block or on the run (an index against a bound) is taken to
    be the same in all lanes, which only the last warps of a grid contradict. Data is not.
    """
    if any(v in (Hidden.DATA, Hidden.LOST) for v in values):
        return False
    exact = [v for v in values if isinstance(v, Known) and v.align == WORD]
    if len(exact) < len(values) or all(v.uniform for v in exact):
        return True
    asked = next((ask for name, ask in _COMPARISONS.items() if f".{name}" in of.opcode), None)
    if asked is None or len(exact) != 2 or not of.name.startswith("ISETP"):
        return False
    return len({asked(x, y) for x, y in zip(exact[0].lanes, exact[1].lanes, strict=True)}) == 1


# Of indices and bounds, which are not negative here.
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "GE": int.__ge__, "GT": int.__gt__, "LE": int.__le__, "LT": int.__lt__, "EQ": int.__eq__,
    "NE": int.__ne__,
}  # fmt: skip


def _lost(values: Sequence[Value]) -> Hidden:
    found = lanes.worst(values)
    return Hidden.LOST if found is Hidden.STRIDE else found


def _move(of: Decoded, v: Sequence[Value]) -> Value:
    return v[0]


def _sum(of: Decoded, v: Sequence[Value]) -> Value | None:
    if ".X" in of.opcode:
        return None
    total = v[0]
    for value in v[1:3]:
        total = lanes.add(total, value)
    return total


def _product(of: Decoded, v: Sequence[Value]) -> Value | None:
    if ".HI" in of.opcode or ".X" in of.opcode:
        return None
    return lanes.add(lanes.multiply(v[0], v[1]), v[2])


def _scaled(of: Decoded, v: Sequence[Value]) -> Value | None:
    """LEA: (a << shift) + b; LEA.HI: the upper word of c:a << shift, plus b, modelled where c is zero."""
    if ".HI" in of.opcode:
        if ".X" in of.opcode or not (isinstance(v[2], Known) and isinstance(v[3], Known)):
            return None
        by = v[3].constant
        if v[2].constant != 0 or not by:
            return None
        return lanes.add(lanes.shift_right(v[0], lanes.constant(WORD - by), signed=False), v[1])
    shift = v[2] if len(v) > 2 else ZERO
    return lanes.add(lanes.shift_left(v[0], shift), v[1])


def _shifted(of: Decoded, v: Sequence[Value]) -> Value | None:
    """SHF on a pair of registers: modelled where the other half is zero."""
    zero_low = isinstance(v[0], Known) and v[0].constant == 0
    if ".L" in of.opcode:
        return lanes.shift_left(v[0], v[1]) if ".HI" not in of.opcode else None
    if ".HI" in of.opcode and zero_low:
        return lanes.shift_right(v[2], v[1], signed=".S32" in of.opcode or ".S64" in of.opcode)
    return None


def _logical(of: Decoded, v: Sequence[Value]) -> Value | None:
    table = v[3].constant if isinstance(v[3], Known) else None
    return None if table is None else lanes.logic(v[0], v[1], v[2], table & 0xFF)


def _extreme(of: Decoded, v: Sequence[Value]) -> Value | None:
    """IMNMX of numbers that are exact."""
    a, b = v[0], v[1]
    if not (isinstance(a, Known) and isinstance(b, Known) and a.align == b.align == WORD):
        return None
    choose = max if of.last == "!PT" else min
    sign = 0 if ".U32" in of.opcode else 1 << (WORD - 1)  # turning the sign bit orders signed numbers
    pairs = zip(a.lanes, b.lanes, strict=True)
    return lanes.known([choose(x ^ sign, y ^ sign) ^ sign for x, y in pairs], WORD)


def _zero(of: Decoded, v: Sequence[Value]) -> Value:
    return v[0] if v else ZERO


def _halves(of: Decoded, v: Sequence[Value]) -> Value | None:
    """HFMA2.MMA R, -RZ, RZ, high, low moves a constant; so does HFMA2 without .MMA from Blackwell on."""
    plain = [o.text for o in of.sources]
    if len(plain) != 4 or plain[0] != "RZ" or plain[1] != "RZ":
        return None
    try:
        high, low = (
            int.from_bytes(struct.pack("<e", float(o.text) * (-1 if o.negated else 1)), "little")
            for o in of.sources[2:]
        )
    except (ValueError, OverflowError):
        return UNIFORM
    return lanes.constant((high << 16 | low) & MASK)


Model = Callable[[Decoded, Sequence[Value]], Value | None]
MODELLED: Mapping[str, Model] = {
    "MOV": _move, "LDC": _move, "LDCU": _move, "R2UR": _move, "S2R": _move, "S2UR": _move, "CS2R": _zero,
    "IADD3": _sum, "IADD": _sum, "VIADD": _sum, "IMAD": _product, "LEA": _scaled, "SHF": _shifted,
    "LOP3": _logical, "HFMA2": _halves,
    "IMNMX": _extreme, "VIMNMX": _extreme,
}  # fmt: skip
