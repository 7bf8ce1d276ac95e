"""SASS as nvdisasm prints it: instructions per kernel, basic blocks, loop nests. Static evidence only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SECTION = re.compile(r"\s*\.section\s+\.text\.(\S+?),")
_LABEL = re.compile(r"(\.L_x?_?\w+|\$\S+):\s*$")
_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]+)\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")
_TARGET = re.compile(r"`\(([^)]+)\)")
_JUMPS = ("BRA", "BRX", "JMP", "BRXU", "JMX")
_ENDS = ("EXIT", "RET", "BPT", "KILL")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One machine instruction: ``opcode`` with its dotted modifiers, operands as text.

    Attributes:
        guard: the predicate under which it executes, such as ``!P0``; empty where it always does.
    """

    opcode: str
    operands: str
    guard: str = ""

    @property
    def name(self) -> str:
        """The opcode without modifiers."""
        return self.opcode.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Placed:
    """An instruction, how many loops it is in, the outermost of them (-1 in none), and labels before it."""

    instruction: Instruction
    depth: int
    outermost: int
    labels: tuple[str, ...] = ()


def kernels_of(text: str) -> Mapping[str, tuple[Placed, ...]]:
    """Every function of a disassembly, each instruction with its loop nest.

    A loop is the stretch from the target of a backward jump to the jump: compilers lay loops out in one
    piece. A jump to itself, which ends every kernel, is none.
    """
    found: dict[str, tuple[Placed, ...]] = {}
    name: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section or line.startswith("//-----"):
            if name is not None:
                found[name] = _placed(lines)
            name, lines = (section[1] if section else None), []
        elif name is not None:
            lines.append(line)
    if name is not None:
        found[name] = _placed(lines)
    return found


def _placed(lines: Sequence[str]) -> tuple[Placed, ...]:
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in lines:
        label = _LABEL.match(line.strip())
        if label:
            labels[label[1]] = len(instructions)
            continue
        found = _INSTRUCTION.match(line)
        if not found:
            continue
        entry = Instruction(found[3], found[4].strip(), found[2] or "")
        if entry.name in _JUMPS:
            jumps += [(len(instructions), target) for target in _TARGET.findall(entry.operands)]
        instructions.append(entry)
    loops = sorted({(labels[t], at) for at, t in jumps if t in labels and labels[t] < at})
    names: dict[int, tuple[str, ...]] = {}
    for name, at in labels.items():
        names[at] = (*names.get(at, ()), name)
    return tuple(
        _place(number, entry, loops, names.get(number, ())) for number, entry in enumerate(instructions)
    )


def _place(
    number: int, entry: Instruction, loops: Sequence[tuple[int, int]], labels: tuple[str, ...]
) -> Placed:
    heads: dict[int, int] = {}
    for head, end in loops:
        if head <= number <= end:
            heads[head] = max(end, heads.get(head, end))
    return Placed(entry, len(heads), min(heads, default=-1), labels)
