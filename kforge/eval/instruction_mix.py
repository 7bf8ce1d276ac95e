"""A kernel's machine instructions sorted by the unit that executes them.

Opcodes as the CUDA Binary Utilities document lists them ("Instruction Set Reference", Turing to Blackwell).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kforge.diagnosis_types import InstructionMix
from kforge.eval.facts import LOOP_WEIGHT
from kforge.eval.sass import Instruction, Placed
from kforge.eval.warp_reading import decoded, width_bytes

_MATRIX = re.compile(r"U?(HMMA|IMMA|DMMA|QMMA|OMMA|[HIQB]GMMA|TC\w*MMA)\b")
_STACK = re.compile(r"\[R1(\+-?0x[0-9a-f]+)?\]")
_UNITS: Mapping[str, tuple[str, ...]] = {
    "fp32_fma": ("FFMA", "FFMA2", "FFMA32I"),
    "fp32": (
        "FADD", "FMUL", "FADD2", "FMUL2", "FMNMX", "FMNMX3", "FSETP", "FSEL", "FSET", "FCHK", "FSWZADD",
        "FADD32I", "FMUL32I",
    ),
    "fp16": ("HADD2", "HMUL2", "HFMA2", "HMNMX2", "HSETP2", "HSET2", "HADD2_32I"),
    "fp64": ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX"),
    "special": ("MUFU",),
    "barriers": ("BAR", "SYNCS", "UCGABAR_ARV", "UCGABAR_WAIT", "ERRBAR"),
    "atomics": ("ATOM", "ATOMG", "ATOMS", "RED", "REDG"),
    "shuffles": ("SHFL", "VOTE", "VOTEU", "REDUX", "MATCH", "CREDUX"),
    "async_copies": ("LDGSTS", "UBLKCP", "UTMALDG", "UTMASTG", "UBLKRED", "UTMAREDG"),
    "control": (
        "BRA", "BRX", "BRXU", "JMP", "JMX", "EXIT", "RET", "CALL", "BSSY", "BSYNC", "BREAK", "WARPSYNC",
        "YIELD", "KILL", "BPT", "DEPBAR", "LDGDEPBAR", "NANOSLEEP", "BMOV", "BRKPT", "RPCMOV",
    ),
    "moves": (
        "MOV", "MOV32I", "SEL", "PRMT", "S2R", "CS2R", "S2UR", "R2UR", "LDC", "LDCU", "LDCT", "P2R", "R2P",
        "UMOV", "ULDC", "USEL", "UPRMT", "UP2UR", "UR2UP",
    ),
    "integer": (
        "IADD3", "IADD", "IADD32I", "IMAD", "IMUL", "ISETP", "LEA", "LOP3", "LOP", "SHF", "SHL", "SHR",
        "IMNMX", "VIMNMX", "VIMNMX3", "VIADD", "VIADDMNMX", "IABS", "POPC", "FLO", "BREV", "BMSK", "SGXT",
        "PLOP3", "IDP", "IDP4A", "ISCADD", "XMAD", "VABSDIFF", "PSETP",
    ),
    # Conversions share a quarter-rate unit with the special functions on most architectures.
    "special_conversions": ("I2F", "F2I", "F2F", "FRND", "I2I", "I2FP", "F2FP", "I2IP", "F2IP"),
}  # fmt: skip
_UNIT_OF = {opcode: unit for unit, opcodes in _UNITS.items() for opcode in opcodes}


@dataclass(slots=True)
class _Tally:
    units: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    widths: dict[str, dict[int, float]] = field(
        default_factory=lambda: {
            name: defaultdict(float)
            for name in ("global_loads", "global_stores", "shared_loads", "shared_stores")
        }
    )


_ACCESSES = {
    "LDG": "global_loads", "LD": "global_loads", "STG": "global_stores", "ST": "global_stores",
    "LDS": "shared_loads", "STS": "shared_stores", "LDSM": "shared_loads", "STSM": "shared_stores",
}  # fmt: skip


def instruction_mix(code: Sequence[Placed]) -> InstructionMix:
    """Count one kernel."""
    tally, total = _Tally(), 0.0
    for placed in code:
        if placed.instruction.name == "NOP":
            continue
        weight = LOOP_WEIGHT ** min(placed.depth, 3)
        total += weight
        _count(placed.instruction, weight, tally)
    units = tally.units
    widths = {name: dict(sorted(found.items())) for name, found in tally.widths.items()}
    return InstructionMix(
        total=total, **widths,
        spill_accesses=units["spill_accesses"], array_accesses=units["array_accesses"],
        fp32_fma=units["fp32_fma"], fp32=units["fp32"] + units["special_conversions"],
        fp16=units["fp16"], fp64=units["fp64"], special=units["special"], matrix=units["matrix"],
        barriers=units["barriers"], atomics=units["atomics"], shuffles=units["shuffles"],
        async_copies=units["async_copies"], integer=units["integer"], control=units["control"],
        moves=units["moves"], other=units["other"],
        load_bytes_in_flight=_bytes_in_flight(code),
    )  # fmt: skip


def _count(entry: Instruction, weight: float, tally: _Tally) -> None:
    name = entry.name
    if name in _ACCESSES:
        # A matrix load gives each thread one register per matrix.
        width = 4 * int(entry.opcode[-1]) if name in ("LDSM", "STSM") and entry.opcode[-1].isdigit() else None
        tally.widths[_ACCESSES[name]][width or width_bytes(entry.opcode)] += weight
    elif name in ("LDL", "STL"):
        # Only the compiler's own places, spills and arguments, lie at a fixed distance from R1, the stack.
        fixed = _STACK.search(entry.operands) is not None
        tally.units["spill_accesses" if fixed else "array_accesses"] += weight
    elif _MATRIX.match(entry.opcode):
        tally.units["matrix"] += weight
    else:
        tally.units[_unit(entry)] += weight


def _unit(entry: Instruction) -> str:
    name, opcode = entry.name, entry.opcode
    moves = name == "HFMA2" and "RZ, RZ" in entry.operands.replace("-RZ", "RZ")
    if moves or opcode.startswith("IMAD.MOV"):
        return "moves"
    found = _UNIT_OF.get(name) or (_UNIT_OF.get(name[1:]) if name.startswith("U") else None)
    if found == "special_conversions" and ".F64" in opcode:
        return "fp64"
    return found or "other"


def _bytes_in_flight(code: Sequence[Placed]) -> int | None:
    """Bytes of loads issued before the first of them is used, in the deepest loops that load.

    A stretch ends at a label or a jump: what is still under way there is taken to be waited for there.
    """
    loading = [p.depth for p in code if p.instruction.name in ("LDG", "LD")]
    if not loading:
        return None
    deepest, most = max(loading), 0
    waiting: dict[str, int] = {}
    for placed in code:
        of = decoded(placed.instruction)
        if placed.labels or placed.depth != deepest:
            waiting.clear()
        used = {operand.register for operand in of.sources}
        if waiting and used & waiting.keys():
            waiting.clear()
        if placed.depth == deepest and of.name in ("LDG", "LD"):
            width = width_bytes(of.opcode)
            waiting.update({name: width // len(of.writes) for name in of.writes})
            most = max(most, sum(waiting.values()))
    return most
