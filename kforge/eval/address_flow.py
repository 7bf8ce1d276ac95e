"""Follows a kernel's addresses through its control flow: what every memory instruction of a warp is given.

A forward pass over the blocks to a fixed point. Where ways meet, a value that differs keeps only what both
agree on. Where lanes of one warp went different ways before (a branch on data or on the thread's own number,
up to the point where BSSY lets them meet), each may hold either value, so a difference is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kforge.eval import lanes
from kforge.eval.lanes import UNIFORM, Hidden, Known, Value
from kforge.eval.sass import Placed
from kforge.eval.warp_reading import (
    Decoded,
    Surroundings,
    decoded,
    goes_together,
    operand,
    read,
    result,
    width_bytes,
)

# Above this a kernel's addresses are not followed: hostile or fully unrolled code must not cost minutes.
MAX_INSTRUCTIONS = 20_000
MAX_VISITS = 40  # of one block
MAX_ROUNDS = 8
Space = Literal["global", "shared"]
_TARGET = re.compile(r"`\(([^)]+)\)")
_BRACKET = re.compile(r"\[([^\]]*)\]")
_SCALE = re.compile(r"\.X(\d+)")
_GLOBAL = {"LDG": False, "LD": False, "STG": True, "ST": True}
_SHARED = {"LDS": False, "STS": True, "LDSM": False, "STSM": True, "ATOMS": True}
_ATOMIC = ("ATOM", "ATOMG", "RED", "REDG")


@dataclass(frozen=True, slots=True)
class Request:
    """One memory instruction as a warp meets it.

    Attributes:
        address: low word, per lane.
        group: instructions of one group use the same registers, unchanged between them.
        depth: loops around it.
    """

    space: Space
    store: bool
    atomic: bool
    matrix: bool
    width_bytes: int
    address: Value
    group: tuple[object, ...]
    depth: int


@dataclass(slots=True)
class _Block:
    start: int
    end: int
    targets: list[int] = field(default_factory=list)
    waits_since: int | None = None  # the BSSY whose lanes meet at its start


@dataclass(slots=True)
class _State:
    """Registers and predicates; ``guarded`` has what a register is under the guard it was set under."""

    values: dict[str, Value]
    guarded: dict[str, tuple[str, Value]] = field(default_factory=dict)

    def seen_by(self, guard: str) -> dict[str, Value]:
        if not guard or not self.guarded:
            return self.values
        own = {name: value for name, (under, value) in self.guarded.items() if under == guard}
        return {**self.values, **own} if own else self.values


def requests(code: Sequence[Placed], around: Surroundings) -> tuple[Request, ...]:
    """Every memory instruction of a kernel with its addresses."""
    blocks = _blocks(code)
    arriving = _settled(code, blocks, around) if len(code) <= MAX_INSTRUCTIONS else None
    if arriving is None:
        return tuple(_unfollowed(code))
    found: list[Request] = []
    for block, values in zip(blocks, arriving, strict=True):
        if values is None:
            found += _unfollowed(code[block.start : block.end])
        else:
            found += _walk(code, block, _State(dict(values)), around)
    return tuple(found)


Arriving = list[dict[str, Value] | None]


def _settled(code: Sequence[Placed], blocks: Sequence[_Block], around: Surroundings) -> Arriving | None:
    """A fixed point that knows which branches its lanes take differently; None if it takes too long."""
    parting: frozenset[int] = frozenset()
    for _ in range(MAX_ROUNDS):
        seen: set[int] = set()
        arriving = _fixed_point(code, blocks, around, parting, seen)
        if arriving is None or seen <= parting:
            return arriving
        parting |= seen
    return None


def _fixed_point(
    code: Sequence[Placed],
    blocks: Sequence[_Block],
    around: Surroundings,
    parting: frozenset[int],
    seen: set[int],
) -> Arriving | None:
    """What holds where each block begins, None for one never reached; None of all if it takes too long.

    Args:
        code: of the kernel.
        blocks: of that code.
        around: what the launch makes known.
        parting: places of branches that lanes of one warp take differently.
        seen: is given those that are found to be so.
    """
    arriving: Arriving = [None] * len(blocks)
    if not blocks:
        return arriving
    arriving[0] = {}
    waiting, visits = {0}, [0] * len(blocks)
    while waiting:
        at = min(waiting)
        waiting.remove(at)
        visits[at] += 1
        if visits[at] > MAX_VISITS:
            return None
        state = _State(dict(arriving[at] or {}))
        for _ in _walk(code, blocks[at], state, around):
            pass
        if _parts(code[blocks[at].end - 1], state):
            seen.add(blocks[at].end - 1)
        for target in blocks[at].targets:
            since, start = blocks[target].waits_since, blocks[target].start
            diverged = since is not None and any(since <= place < start for place in parting)
            merged = _merged(arriving[target], state.values, diverged=diverged)
            if merged is not None:
                arriving[target] = merged
                waiting.add(target)
    return arriving


def _parts(last: Placed, state: _State) -> bool:
    """Whether lanes of one warp take this branch differently."""
    conditions = [last.instruction.guard, *last.instruction.operands.partition("`")[0].split(",")]
    names = [text.strip().lstrip("!") for text in conditions if text.strip()]
    return last.instruction.name in ("BRA", "BRX", "JMP") and any(
        state.values.get(name, UNIFORM) is not UNIFORM for name in names if name[:1] == "P"
    )


def _unfollowed(code: Sequence[Placed]) -> Iterator[Request]:
    for number, placed in enumerate(code):
        for space, store, atomic, _ in _places(placed):
            matrix = placed.instruction.name in ("LDSM", "STSM")
            width = width_bytes(placed.instruction.opcode)
            yield Request(space, store, atomic, matrix, width, Hidden.LOST, (number,), placed.depth)


def _merged(
    old: dict[str, Value] | None, new: dict[str, Value], *, diverged: bool
) -> dict[str, Value] | None:
    """The state where ways meet; None where the new way adds nothing."""
    if old is None:
        return dict(new)
    merged = dict(old)
    for name, value in new.items():
        # A register that one way never set is not used behind the meeting, or only where it was set.
        merged[name] = lanes.join(old[name], value, diverged=diverged) if name in old else value
    return None if merged == old else merged


def _blocks(code: Sequence[Placed]) -> list[_Block]:
    if not code:
        return []
    labels = {label: number for number, placed in enumerate(code) for label in placed.labels}
    starts = {0, *labels.values()}
    jumps = ("BRA", "BRX", "JMP", "JMX", "BRXU", "EXIT", "RET", "CALL")
    starts |= {number + 1 for number, placed in enumerate(code) if placed.instruction.name in jumps}
    ordered = sorted(start for start in starts if start < len(code))
    number_of = {start: number for number, start in enumerate(ordered)}
    blocks = [
        _Block(start, end)
        for start, end in zip(ordered, [*ordered[1:], len(code)], strict=True)
        if start < end
    ]
    meetings = {
        labels[label]: number
        for number, placed in reversed(list(enumerate(code))) if placed.instruction.name == "BSSY"
        for label in _TARGET.findall(placed.instruction.operands) if label in labels
    }  # fmt: skip
    for number, block in enumerate(blocks):
        block.waits_since = meetings.get(block.start)
        last = code[block.end - 1].instruction
        ends = last.name in ("EXIT", "RET", "KILL", "BPT")
        if last.name in ("BRA", "BRX", "JMP", "JMX", "BRXU"):
            named = [labels[label] for label in _TARGET.findall(last.operands) if label in labels]
            block.targets += [number_of[start] for start in named]
            # Conditions stand before the target: a guard, a predicate operand, or .DIV with a register.
            ends = not last.guard and not last.operands.partition("`")[0].strip()
        if (not ends or last.guard) and number + 1 < len(blocks):
            block.targets.append(number + 1)
    return blocks


def _walk(code: Sequence[Placed], block: _Block, state: _State, around: Surroundings) -> Iterator[Request]:
    """Take a state through a block, in place; yields its memory instructions."""
    versions: dict[str, int] = {}
    for number in range(block.start, block.end):
        placed = code[number]
        of = decoded(placed.instruction)
        seen = state.seen_by(of.guard)
        for space, store, atomic, text in _places(placed):
            address, names = _address(text, seen, around)
            group = (block.start, store, atomic, *((name, versions.get(name, -1)) for name in names))
            matrix = placed.instruction.name in ("LDSM", "STSM")
            width = 16 if matrix else width_bytes(placed.instruction.opcode)
            yield Request(space, store, atomic, matrix, width, address, group, placed.depth)
        if of.name == "CALL":
            for name in _set_by_call(code, placed, state):
                state.values[name] = Hidden.LOST
            state.guarded.clear()
            continue
        _apply(of, state, seen, around)
        for name in of.writes:
            versions[name] = number


def _set_by_call(code: Sequence[Placed], call: Placed, state: _State) -> list[str]:
    """Registers that a called function of this kernel may change; all where it is not in sight."""
    named = _TARGET.findall(call.instruction.operands)
    starts = [number for number, placed in enumerate(code) if named and named[0] in placed.labels]
    if not starts:
        return list(state.values)
    found: list[str] = []
    for number in range(starts[0], len(code)):
        if number > starts[0] and any(label.startswith("$") for label in code[number].labels):
            break
        of = decoded(code[number].instruction)
        if of.name == "CALL":
            return list(state.values)
        found += [*of.writes, *of.sets]
    return found


def _apply(of: Decoded, state: _State, seen: dict[str, Value], around: Surroundings) -> None:
    values = [_source(o.text, seen, around) if "[" in o.text and not o.text.startswith("c") else
              read(o, seen, around) for o in of.sources]  # fmt: skip
    conditions = [seen.get(name, Hidden.DATA) for name in of.conditions]
    if of.writes:
        chosen = of.name == "SEL" and len(values) == 2 and all(c is UNIFORM for c in conditions)
        first = lanes.join(*values, diverged=False) if chosen else result(of, values)
        if conditions and first is UNIFORM and not all(c is UNIFORM for c in conditions):
            first = Hidden.DATA  # a selection that lanes make differently
        rest = _upper(of, first, values, around)
        for name, value in zip(of.writes, (first, *([rest] * (len(of.writes) - 1))), strict=True):
            _write(name, value, of.guard, state)
    if of.sets:
        same = goes_together(of, values) and all(c is UNIFORM for c in conditions)
        for name in of.sets:
            _set_predicate(name, UNIFORM if same else Hidden.DATA, of.guard, state)


def _source(text: str, seen: dict[str, Value], around: Surroundings) -> Value:
    """What a load is given: its address."""
    groups = _BRACKET.findall(text)
    return _address(groups[-1], seen, around)[0] if groups else Hidden.LOST


def _upper(of: Decoded, first: Value, values: Sequence[Value], around: Surroundings) -> Value:
    """The higher words of a wide result."""
    if of.name in ("LDC", "LDCU") and of.sources:
        found = re.fullmatch(r"c\[0x0\]\[(0x[0-9a-f]+)\]", of.sources[0].text)
        if found:
            return around.constants.get(int(found[1], 16) + 4, UNIFORM)
    if of.name == "CS2R":
        return first
    # Lanes of a warp lie close together: they share the upper half of what their lower halves are known of.
    if isinstance(first, Known):
        return UNIFORM
    return first


def _write(name: str, value: Value, guard: str, state: _State) -> None:
    if not guard:
        state.values[name] = value
        state.guarded.pop(name, None)
        return
    diverged = state.values.get(guard.lstrip("!"), Hidden.DATA) is not UNIFORM
    if name in state.values:
        state.values[name] = lanes.join(state.values[name], value, diverged=diverged)
    else:
        state.values[name] = value
    state.guarded[name] = (guard, value)


def _set_predicate(name: str, value: Value, guard: str, state: _State) -> None:
    state.values[name] = value if not guard else Hidden.DATA
    for register in [r for r, (under, _) in state.guarded.items() if under.lstrip("!") == name]:
        del state.guarded[register]


def _places(placed: Placed) -> Iterator[tuple[Space, bool, bool, str]]:
    """(space, store, atomic, address text) of an instruction's accesses."""
    entry = placed.instruction
    name = entry.name
    if name not in _GLOBAL and name not in _SHARED and name not in _ATOMIC and name != "LDGSTS":
        return
    groups = _BRACKET.findall(entry.operands)
    if not groups:
        return
    if name == "LDGSTS":
        yield "shared", True, False, groups[0]
        yield "global", False, False, groups[-1]
    elif name in _SHARED:
        yield "shared", _SHARED[name], name == "ATOMS", groups[-1]
    elif name in _ATOMIC:
        yield "global", True, True, groups[-1]
    else:
        yield "global", _GLOBAL[name], False, groups[-1]


def _address(text: str, values: dict[str, Value], around: Surroundings) -> tuple[Value, tuple[str, ...]]:
    """The sum in a pair of brackets, and the registers in it."""
    total: Value = lanes.ZERO
    names: list[str] = []
    for part in re.split(r"\+", text):
        term = operand(part)
        value = read(term, values, around)
        scale = _SCALE.search(term.text)
        if scale:
            value = lanes.multiply(value, lanes.constant(int(scale[1])))
        if term.register is not None:
            names.append(term.register)
        total = lanes.add(total, value)
    return total, tuple(names)
