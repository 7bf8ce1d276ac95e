"""A reader of SPIR-V modules: instructions, types, control flow. Knows nothing of kforge.

Source: SPIR-V specification 1.6, sections 2.3 (physical layout), 3.2 (enumerants), and the Intel
extensions for inline assembly and function pointers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Op(IntEnum):
    """Opcodes that kforge looks at."""

    Name = 5
    EntryPoint = 15
    Capability = 17
    TypeInt = 21
    TypeFloat = 22
    TypeVector = 23
    TypePointer = 32
    Constant = 43
    Function = 54
    FunctionParameter = 55
    FunctionEnd = 56
    FunctionCall = 57
    Variable = 59
    Load = 61
    Store = 62
    Decorate = 71
    ExtInst = 12
    ControlBarrier = 224
    Label = 248
    Branch = 249
    BranchConditional = 250
    Switch = 251
    GroupAsyncCopy = 259
    AsmTarget = 5609
    AsmCall = 5611
    FunctionPointerCall = 5601


FLOAT_OPS = frozenset({127, 129, 131, 133, 136, 140, 141, 142, 143, 144, 145, 146, 147, 148})
ATOMIC_OPS = frozenset({*range(227, 243), 6035, 5614, 5615})
GROUP_OPS = frozenset({*range(261, 272), *range(333, 367), 4431})
SUBGROUP_ONLY_OPS = frozenset({*range(4421, 4433), *range(5571, 5581)})
MATRIX_OPS = frozenset({4457, 4458, 4459, *range(6120, 6125)})
TERMINATORS = frozenset({249, 250, 251, 252, 253, 254, 255})
# OpTypePointer and OpTypeUntypedPointerKHR both name the storage class first.
POINTER_TYPES = frozenset({32, 4417})
SCOPE_SUBGROUP = 3
STORAGE_WORKGROUP = 4
STORAGE_DEVICE = 5
DECORATION_CONSTANT = 22
STORAGE_GLOBAL = frozenset({5, 8})  # CrossWorkgroup, and Generic where inference gave up


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: opcode and operand words."""

    opcode: int
    words: tuple[int, ...]


@dataclass(slots=True)
class Block:
    """A basic block: its label, its instructions, the labels it may go to."""

    label: int
    body: list[Instruction] = field(default_factory=list)
    targets: tuple[int, ...] = ()


@dataclass(slots=True)
class Function:
    """A function body as basic blocks in program order."""

    id: int
    blocks: dict[int, Block] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Module:
    """What kforge needs of a module.

    Attributes:
        types: result id of a type to (opcode, operand words).
        type_of: result id of a value to its type id.
        constants: result id to the low word of an integer constant.
        entry_points: kernel name to function id.
        imports: names of functions that the module expects from outside.
        lasting_variables: ids of writable variables in device memory at module scope.
    """

    types: Mapping[int, tuple[int, tuple[int, ...]]]
    type_of: Mapping[int, int]
    constants: Mapping[int, int]
    entry_points: Mapping[str, int]
    functions: Mapping[int, Function]
    opcodes: frozenset[int]
    imports: tuple[str, ...]
    lasting_variables: frozenset[int]

    def type_bytes(self, type_id: int) -> tuple[int, int]:
        """(bytes, vector width) of a scalar or vector type; (0, 1) for anything else."""
        opcode, words = self.types.get(type_id, (0, ()))
        if opcode in (Op.TypeInt, Op.TypeFloat) and words:
            return (words[0] // 8, 1)
        if opcode == Op.TypeVector and len(words) == 2:
            element, _ = self.type_bytes(words[0])
            return (element * words[1], words[1])
        return (0, 1)

    def storage_class(self, pointer_id: int) -> int | None:
        """Storage class of a pointer value."""
        opcode, words = self.types.get(self.type_of.get(pointer_id, 0), (0, ()))
        return words[0] if opcode in POINTER_TYPES and words else None


def instructions(data: bytes) -> Iterator[Instruction]:
    """Walk the instruction stream.

    Raises:
        ValueError: not SPIR-V, or an instruction that leaves the module.
    """
    if len(data) < 20 or len(data) % 4 or data[:4] != b"\x03\x02\x23\x07":
        raise ValueError("not a SPIR-V module")
    words = struct.unpack(f"<{len(data) // 4}I", data)
    position = 5
    while position < len(words):
        count, opcode = words[position] >> 16, words[position] & 0xFFFF
        if count == 0 or position + count > len(words):
            raise ValueError(f"broken SPIR-V instruction at word {position}")
        yield Instruction(opcode, words[position + 1 : position + count])
        position += count


def _text(words: tuple[int, ...]) -> str:
    raw = struct.pack(f"<{len(words)}I", *words)
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def parse(data: bytes) -> Module:
    """Parse a module.

    Raises:
        ValueError: the bytes are not a well-formed module.
    """
    try:
        return _parse(data)
    except IndexError as error:
        raise ValueError("a SPIR-V instruction has too few operands") from error


def _parse(data: bytes) -> Module:  # noqa: C901, PLR0912 - a flat table of opcodes
    types: dict[int, tuple[int, tuple[int, ...]]] = {}
    type_of: dict[int, int] = {}
    constants: dict[int, int] = {}
    entry_points: dict[str, int] = {}
    functions: dict[int, Function] = {}
    opcodes: set[int] = set()
    imports: list[str] = []
    device_variables: set[int] = set()
    constant: set[int] = set()
    function: Function | None = None
    block: Block | None = None
    for instruction in instructions(data):
        opcode, words = instruction.opcode, instruction.words
        opcodes.add(opcode)
        if 19 <= opcode <= 39 or opcode in (4417, 4456, 6119):
            types[words[0]] = (opcode, words[1:])
        elif opcode == Op.Constant:
            type_of[words[1]], constants[words[1]] = words[0], words[2]
        elif opcode == Op.EntryPoint:
            entry_points[_text(words[2:])] = words[1]
        elif opcode == Op.Decorate and len(words) > 3 and words[1] == 41 and words[-1] == 1:
            imports.append(_text(words[2:-1]))
        elif opcode == Op.Decorate and len(words) > 1 and words[1] == DECORATION_CONSTANT:
            constant.add(words[0])
        elif opcode == Op.Variable and function is None and words[2] == STORAGE_DEVICE:
            device_variables.add(words[1])
        elif opcode == Op.Function:
            function, block = Function(words[1]), None
            functions[words[1]] = function
        elif opcode == Op.FunctionEnd:
            function = block = None
        elif opcode == Op.Label and function is not None:
            block = Block(words[0])
            function.blocks[words[0]] = block
        elif block is not None:
            block.body.append(instruction)
            if opcode in TERMINATORS:
                block.targets = _targets(opcode, words)
        # Every instruction that makes a value names its type first, its id second.
        if opcode not in types_without_result and len(words) >= 2 and opcode > 39:
            type_of.setdefault(words[1], words[0])
    return Module(
        types,
        type_of,
        constants,
        entry_points,
        functions,
        frozenset(opcodes),
        tuple(imports),
        frozenset(device_variables - constant),
    )


types_without_result = frozenset({62, 63, 64, 71, 72, 224, 225, *TERMINATORS, 228, 246, 247})


def _targets(opcode: int, words: tuple[int, ...]) -> tuple[int, ...]:
    if opcode == Op.Branch:
        return words[:1]
    if opcode == Op.BranchConditional:
        return words[1:3]
    if opcode == Op.Switch:
        return (words[1], *words[3::2])
    return ()


def loop_nests(function: Function) -> tuple[dict[int, int], dict[int, int]]:
    """Loop depth of every reachable block, and the header of the outermost loop it lies in.

    Natural loops from the back edges of a depth-first walk; LLVM emits reducible flow for kernels.

    Returns:
        (depth by label, outermost header by label); a block in no loop is absent from the second.
    """
    if not function.blocks:
        return {}, {}
    entry = next(iter(function.blocks))
    order, back_edges = _depth_first(function, entry)
    predecessors: dict[int, list[int]] = {}
    for label in order:
        for target in function.blocks[label].targets:
            predecessors.setdefault(target, []).append(label)
    bodies: dict[int, set[int]] = {}
    for tail, header in back_edges:
        body = bodies.setdefault(header, {header})
        stack = [tail]
        while stack:
            label = stack.pop()
            if label not in body:
                body.add(label)
                stack.extend(predecessors.get(label, ()))
    depth = {label: sum(label in body for body in bodies.values()) for label in order}
    outermost: dict[int, int] = {}
    for header, body in sorted(bodies.items(), key=lambda item: -len(item[1])):
        for label in body:
            outermost.setdefault(label, header)
    return depth, outermost


def _depth_first(function: Function, entry: int) -> tuple[list[int], list[tuple[int, int]]]:
    order: list[int] = []
    back_edges: list[tuple[int, int]] = []
    state: dict[int, int] = {entry: 1}
    stack: list[tuple[int, Iterator[int]]] = [(entry, iter(function.blocks[entry].targets))]
    order.append(entry)
    while stack:
        label, targets = stack[-1]
        target = next(targets, None)
        if target is None:
            state[label] = 2
            stack.pop()
        elif target not in function.blocks:
            continue
        elif state.get(target) == 1:
            back_edges.append((label, target))
        elif target not in state:
            state[target] = 1
            order.append(target)
            stack.append((target, iter(function.blocks[target].targets)))
    return order, back_edges
