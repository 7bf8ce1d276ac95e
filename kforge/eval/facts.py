"""Facts of a build: what each kernel does, counted in its SPIR-V.

Static evidence: an instruction in a loop of depth d counts ``LOOP_WEIGHT**min(d, 3)`` times, because trip
counts are unknown. Only reachable code counts, and the compiler has already removed dead code, so comments,
unused functions and unused shared memory never appear.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from kforge.eval import spirv
from kforge.eval.spirv import Op
from kforge.types import BuildFacts, KernelFacts, KernelResources

LOOP_WEIGHT = 10.0
KERNEL_PREFIX = "__sycl_kernel_"
# OpenCL.std extended instructions that do floating-point work: fma, mad, and the transcendental block.
_FMA_EXTENDED = frozenset({26, 42})
_DEVICE_LIBRARY = re.compile(r"(_Z\d+)?(__spirv_|__devicelib_)|__assert_fail\Z|__itt_")
_FLOAT_EXTENDED = frozenset(range(0, 96))


@dataclass(slots=True)
class Counts:
    """Running totals of one kernel or function; ``loops_with_loads`` are (function, outermost loop)."""

    instructions: float = 0.0
    global_loads: float = 0.0
    global_load_bytes: float = 0.0
    global_stores: float = 0.0
    wide_load_bytes: float = 0.0
    local_loads: float = 0.0
    local_stores: float = 0.0
    float_ops: float = 0.0
    matrix_ops: float = 0.0
    async_copies: float = 0.0
    barriers: float = 0.0
    subgroup_ops: float = 0.0
    workgroup_ops: float = 0.0
    atomics: float = 0.0
    loop_depth: int = 0
    loops_with_loads: set[tuple[int, int]] = field(default_factory=set)

    def add(self, other: Counts, weight: float, depth: int) -> None:
        """Add another's totals, ``weight`` times, ``depth`` loops down."""
        for entry in fields(self):
            if entry.name not in ("loop_depth", "loops_with_loads"):
                setattr(self, entry.name, getattr(self, entry.name) + weight * getattr(other, entry.name))
        self.loop_depth = max(self.loop_depth, depth + other.loop_depth)
        self.loops_with_loads |= other.loops_with_loads

    def facts(self, name: str, resources: KernelResources | None = None) -> KernelFacts:
        """The totals as a kernel's facts."""
        values = {e.name: getattr(self, e.name) for e in fields(self) if e.name != "loops_with_loads"}
        loops = len(self.loops_with_loads)
        return KernelFacts(name=name, loading_loops=loops, resources=resources, **values)


def build_facts(modules: tuple[bytes, ...]) -> BuildFacts:
    """Count what the kernels of a build do.

    Raises:
        ValueError: a module is not well-formed SPIR-V.
    """
    kernels: dict[str, KernelFacts] = {}
    for data in modules:
        module = spirv.parse(data)
        memo: dict[int, Counts] = {}
        for entry, function in module.entry_points.items():
            name = entry.removeprefix(KERNEL_PREFIX)
            try:
                counts = _function_counts(module, function, memo, frozenset())
            except IndexError as error:
                raise ValueError("a SPIR-V instruction has too few operands") from error
            kernels[name] = counts.facts(name)
    ordered = tuple(kernels[name] for name in sorted(kernels))
    return BuildFacts(kernels=ordered, code_bytes=sum(map(len, modules)))


def forbidden_features(modules: tuple[bytes, ...]) -> str | None:
    """Name what device code may not contain: inline assembly, calls through pointers, lasting state, imports.

    On a CPU device an assembly block is a system call away from the host, so this is decided on the
    compiled module, where no preprocessor trick is left.
    """
    for data in modules:
        module = spirv.parse(data)
        if module.opcodes & {Op.AsmTarget, Op.AsmCall, 5610}:
            return "inline assembly"
        if Op.FunctionPointerCall in module.opcodes:
            return "a call through a function pointer"
        if module.lasting_variables:
            return (
                "a variable that outlives its launch (a global, static or device_global that is not const); "
                "pass memory between launches through buffers"
            )
        for name in module.imports:
            if not _DEVICE_LIBRARY.match(name):
                return f"a call to {name!r}, which no SYCL device library defines"
    return None


def _function_counts(
    module: spirv.Module, function_id: int, memo: dict[int, Counts], active: frozenset[int]
) -> Counts:
    if function_id in memo:
        return memo[function_id]
    counts = Counts()
    function = module.functions.get(function_id)
    if function is None or function_id in active:
        return counts
    depth, outermost = spirv.loop_nests(function)
    for label, block_depth in depth.items():
        weight = LOOP_WEIGHT ** min(block_depth, 3)
        counts.loop_depth = max(counts.loop_depth, block_depth)
        for instruction in function.blocks[label].body:
            if instruction.opcode == Op.FunctionCall:
                callee = _function_counts(module, instruction.words[2], memo, active | {function_id})
                counts.add(callee, weight, block_depth)
                continue
            before = counts.global_loads
            _count(module, instruction, weight, counts)
            if counts.global_loads > before and label in outermost:
                counts.loops_with_loads.add((function_id, outermost[label]))
    memo[function_id] = counts
    return counts


def _count(  # noqa: C901, PLR0912 - a flat table of opcodes
    module: spirv.Module, instruction: spirv.Instruction, weight: float, counts: Counts
) -> None:
    opcode, words = instruction.opcode, instruction.words
    counts.instructions += weight
    if opcode == Op.Load:
        _count_load(module, words, weight, counts)
    elif opcode == Op.Store:
        storage = module.storage_class(words[0])
        counts.global_stores += weight * (storage in spirv.STORAGE_GLOBAL)
        counts.local_stores += weight * (storage == spirv.STORAGE_WORKGROUP)
    elif opcode in spirv.FLOAT_OPS:
        counts.float_ops += weight * _lanes(module, words[0])
    elif opcode == Op.ExtInst and words[3] in _FLOAT_EXTENDED:
        counts.float_ops += weight * _lanes(module, words[0]) * (2 if words[3] in _FMA_EXTENDED else 1)
    elif opcode == Op.ControlBarrier:
        if module.constants.get(words[0]) == spirv.SCOPE_SUBGROUP:
            counts.subgroup_ops += weight
        else:
            counts.barriers += weight
    elif opcode == Op.GroupAsyncCopy:
        counts.async_copies += weight
    elif opcode in spirv.MATRIX_OPS:
        counts.matrix_ops += weight
    elif opcode in spirv.ATOMIC_OPS:
        counts.atomics += weight
    elif opcode in spirv.SUBGROUP_ONLY_OPS:
        counts.subgroup_ops += weight
    elif opcode in spirv.GROUP_OPS:
        if module.constants.get(words[2]) == spirv.SCOPE_SUBGROUP:
            counts.subgroup_ops += weight
        else:
            counts.workgroup_ops += weight


def _count_load(module: spirv.Module, words: tuple[int, ...], weight: float, counts: Counts) -> None:
    n_bytes, lanes = module.type_bytes(words[0])
    storage = module.storage_class(words[2])
    if storage in spirv.STORAGE_GLOBAL and n_bytes:
        counts.global_loads += weight
        counts.global_load_bytes += weight * n_bytes
        counts.wide_load_bytes += weight * n_bytes * (lanes >= 2 and n_bytes >= 8)
    elif storage == spirv.STORAGE_WORKGROUP:
        counts.local_loads += weight * lanes


def _lanes(module: spirv.Module, type_id: int) -> int:
    return module.type_bytes(type_id)[1]


def work_share(facts: BuildFacts, launched_items: Mapping[str, int]) -> dict[str, float]:
    """Share of the weighted instructions that each launched kernel executes (an estimate of its time).

    Args:
        facts: the build's facts.
        launched_items: kernel name to work-items launched over one run of the plan.
    """
    work = {k.name: k.instructions * launched_items.get(k.name, 0) for k in facts.kernels}
    total = sum(work.values()) or 1.0
    return {name: value / total for name, value in work.items()}
