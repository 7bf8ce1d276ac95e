"""Facts of a CUDA build, counted in its SASS, and what its cubin may not contain.

Static evidence, weighted as SPIR-V's: an instruction in a loop of depth d counts ``LOOP_WEIGHT**min(d, 3)``
times. ``HFMA2.MMA`` is no matrix instruction, and of ``RZ, RZ`` it only moves a constant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kforge.eval.cubin import CompiledKernel, Cubin
from kforge.eval.facts import LOOP_WEIGHT, Counts
from kforge.eval.instruction_mix import instruction_mix
from kforge.eval.sass import Instruction, Placed
from kforge.types import BuildFacts, KernelFacts, KernelResources

_MATRIX = re.compile(r"(HMMA|IMMA|DMMA|[HIQB]GMMA)\b")
_CLOCKS = re.compile(r"SR_(CLOCK|GLOBALTIMER)")
_WIDTH = re.compile(r"\.(64|128|U8|S8|U16|S16)\b")
_WIDTH_BYTES = {"64": 8, "128": 16, "U8": 1, "S8": 1, "U16": 2, "S16": 2}
_WIDE_BYTES = 8
_ASYNC = ("LDGSTS", "UBLKCP", "UTMALDG", "UTMASTG", "UBLKRED", "UTMAREDG")
_ATOMIC = ("ATOM", "ATOMG", "ATOMS", "RED", "REDG")
_SUBGROUP = ("SHFL", "VOTE", "VOTEU", "REDUX", "MATCH", "CREDUX")
_FLOATS: Mapping[str, int] = {
    "FADD": 1, "FMUL": 1, "FFMA": 2, "DADD": 1, "DMUL": 1, "DFMA": 2, "HADD2": 2, "HMUL2": 2, "HFMA2": 4,
    "MUFU": 1, "FMNMX": 1, "HMNMX2": 2, "FADD2": 2, "FMUL2": 2, "FFMA2": 4, "FSETP": 0,
}  # fmt: skip
# Device memory, output and streams of the device runtime: state or channels that a kernel must not have.
_FORBIDDEN_CALLS = re.compile(
    r"(malloc|free|vprintf|__nv_\w*alloc|cudaMalloc|cudaFree|cudaLaunch\w*|cnp\w*|cudaGraph\w*)\Z"
)
# Tables of the compiler and of CUDA's own headers, which no kernel writes. The screen lets no source reopen
# these namespaces or use such names itself.
_LIBRARY_NAMESPACE = r"K?(4cuda|3cub|6thrust|18cooperative_groups|15__cccl_internal)"
_LIBRARY_OBJECTS = re.compile(
    rf"(_ZZ?N{_LIBRARY_NAMESPACE}|_ZGV|_ZTV|__unnamed|__constant|_param|__cudart_|__cr_|\$str(\$\d+)?\Z)"
)
# What a header keeps to its translation unit; a nameless namespace of the candidate looks alike up to there.
_INTERNAL = re.compile(r"_ZN(\d{1,4})(_INTERNAL.*)")
_LASTING_SECTIONS = (".nv.global", ".nv.global.init", ".nv.uft", ".nv.udt")


def build_facts(code: Mapping[str, tuple[Placed, ...]], cubin: Cubin, code_bytes: int) -> BuildFacts:
    """Count what every kernel does."""
    kernels = tuple(_kernel_facts(name, code[name], cubin.kernels.get(name)) for name in sorted(code))
    return BuildFacts(kernels=kernels, code_bytes=code_bytes, evidence="sass-static")


def _kernel_facts(name: str, code: Sequence[Placed], compiled: CompiledKernel | None) -> KernelFacts:
    counts = Counts()
    for entry in code:
        if entry.instruction.name == "NOP":
            continue
        counts.loop_depth = max(counts.loop_depth, entry.depth)
        before = counts.global_loads + counts.async_copies
        _count(entry.instruction, LOOP_WEIGHT ** min(entry.depth, 3), counts)
        if counts.global_loads + counts.async_copies > before and entry.outermost >= 0:
            counts.loops_with_loads.add((0, entry.outermost))
    resources = None
    if compiled is not None:
        resources = KernelResources(
            registers=compiled.registers,
            static_shared_bytes=compiled.static_shared_bytes,
            frame_bytes=compiled.frame_bytes,
        )
    return replace(counts.facts(name, resources), mix=instruction_mix(code))


def _count(entry: Instruction, weight: float, counts: Counts) -> None:
    name = entry.name
    counts.instructions += weight
    if name in ("LDG", "LD"):
        size = _bytes(entry.opcode)
        counts.global_loads += weight
        counts.global_load_bytes += weight * size
        counts.wide_load_bytes += weight * size * (size >= _WIDE_BYTES)
    elif name in ("STG", "ST"):
        counts.global_stores += weight
    elif name in ("LDS", "LDSM"):
        counts.local_loads += weight * max(1, _bytes(entry.opcode) // 4)
    elif name in ("STS", "STSM"):
        counts.local_stores += weight * max(1, _bytes(entry.opcode) // 4)
    elif _MATRIX.match(entry.opcode):
        counts.matrix_ops += weight
    elif name in _FLOATS and not (entry.opcode.startswith("HFMA2.MMA") and "RZ, RZ" in entry.operands):
        counts.float_ops += weight * _FLOATS[name]
    else:
        _count_cooperation(name, weight, counts)


def _count_cooperation(name: str, weight: float, counts: Counts) -> None:
    if name in _ASYNC:
        counts.async_copies += weight
    elif name == "BAR":
        counts.barriers += weight
    elif name.startswith("UCGABAR"):
        counts.workgroup_ops += weight
        counts.atomics += weight  # a cluster-wide barrier reaches beyond the block, as atomics do
    elif name in _SUBGROUP:
        counts.subgroup_ops += weight
    elif name in _ATOMIC:
        counts.atomics += weight


def _bytes(opcode: str) -> int:
    found = _WIDTH.search(opcode)
    return _WIDTH_BYTES[found[1]] if found else 4


def forbidden_features(
    code: Mapping[str, tuple[Placed, ...]], cubin: Cubin, constants: frozenset[str] = frozenset()
) -> str | None:
    """Name what CUDA device code may not contain: clocks, device memory and output calls, lasting state.

    Decided on what was compiled, where no macro and no assembler line hides anything.

    Args:
        code: the disassembly.
        cubin: the module.
        constants: names that the source declares ``constexpr``.
    """
    for name, instructions in code.items():
        for entry in instructions:
            if _CLOCKS.search(entry.instruction.operands):
                return f"a read of a clock in {name}: a kernel that knows the time can behave for the referee"
    for called in cubin.undefined:
        if _FORBIDDEN_CALLS.match(called):
            return f"a call of {called}: device code gets its memory from the plan and prints nothing"
    for variable in cubin.variables:
        if variable.section not in _LASTING_SECTIONS or _of_library(variable.name):
            continue
        if not any(variable.name in (c, f"_ZL{len(c)}{c}") for c in constants):
            return (
                f"{variable.name}, a variable that outlives its launch (a __device__ or static one); "
                "pass memory between launches through buffers, and declare tables __constant__"
            )
    return None


def _of_library(name: str) -> bool:
    internal = _INTERNAL.match(name)
    if internal:
        return re.match(_LIBRARY_NAMESPACE, internal[2][int(internal[1]) :]) is not None
    return _LIBRARY_OBJECTS.match(name) is not None
