"""A model of what keeps an SM busy while a kernel runs: cycles per warp of each pipe, from static facts.

The busiest pipe bounds the kernel; what a flaw costs is how much sooner that bound would be without it. This
is the instruction roofline (Ding and Williams 2019, "An Instruction Roofline Model for GPUs") with the rates
of ``architectures``. Counts are loop-weighted, so cycles compare pipes of one kernel and are no times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kforge.diagnosis_types import (
    Access,
    GlobalAccess,
    InstructionMix,
    LaunchFacts,
    MeasuredMetrics,
    SharedAccess,
    UnseenAccess,
)
from kforge.eval.architectures import L2_BYTES_PER_CYCLE, LINE_BYTES, SECTOR_BYTES, WARP, Architecture

SECTORS_PER_CYCLE = L2_BYTES_PER_CYCLE / SECTOR_BYTES
ISSUES_PER_CYCLE = 4  # one per scheduler and cycle (Volta and later, CUDA guide, "Hardware Multithreading")
# Atomics of one warp on one address are carried out one after the other.
SAME_ADDRESS_CYCLES = WARP
# One mma.m16n8k16 of halves is 2,048 multiply-adds; an H100's SM does 2,048 per cycle and an A100's 1,024.
MATRIX_CYCLES = 2.0


@dataclass(frozen=True, slots=True)
class Pipes:
    """Cycles per warp.

    Attributes:
        issue: of the schedulers.
        lines: of the L1's tag stage and shared memory: one line of one request, or one wavefront, per cycle.
        sectors: of the port to L2.
    """

    issue: float
    fp32: float
    fp64: float
    integer: float
    special: float
    matrix: float
    lines: float
    sectors: float

    @property
    def busiest(self) -> float:
        """The bound of all pipes."""
        return max(
            self.issue,
            self.fp32,
            self.fp64,
            self.integer,
            self.special,
            self.matrix,
            self.lines,
            self.sectors,
        )

    @property
    def math(self) -> float:
        """Of multiply-adds, wherever they are done."""
        return max(self.fp32, self.matrix)

    def without(self, **less: float) -> Pipes:
        """With some of the cycles gone."""
        return replace(
            self, **{name: max(0.0, getattr(self, name) - cycles) for name, cycles in less.items()}
        )


@dataclass(frozen=True, slots=True)
class Flaws:
    """Cycles per warp that a kernel would not need: (lines, sectors) of each flaw.

    Attributes:
        sectors_fetched: over all known global accesses, weighted, and those needed; likewise wavefronts.
    """

    uncoalesced: tuple[float, float]
    conflicts: float
    spills: tuple[float, float]
    arrays: tuple[float, float]
    atomics: float
    shared: float
    sectors_fetched: float
    sectors_needed: float
    wavefronts: float
    wavefronts_needed: float


def flaws_of(
    launch: LaunchFacts, mix: InstructionMix, of: Architecture, metrics: MeasuredMetrics | None
) -> Flaws:
    """What is avoidable in one launch."""
    seen = [a for a in launch.accesses if isinstance(a, GlobalAccess) and not a.atomic]
    shared = [a for a in launch.accesses if isinstance(a, SharedAccess)]
    fetched = sum(a.count * _sectors(a, metrics) for a in seen)
    needed = sum(a.count * a.needed for a in seen)
    lines = sum(a.count * (a.lines - _least_lines(a)) for a in seen)
    wavefronts, fewest = _wavefronts(shared, metrics)
    local = _local_cycles(launch, of)
    return Flaws(
        uncoalesced=(lines, (fetched - needed) / SECTORS_PER_CYCLE),
        conflicts=wavefronts - fewest,
        spills=(mix.spill_accesses, mix.spill_accesses * local),
        arrays=(mix.array_accesses, mix.array_accesses * local),
        atomics=sum(a.count * (_atomic_cycles(a) - 1.0) for a in launch.accesses if a.atomic),
        shared=wavefronts,
        sectors_fetched=fetched, sectors_needed=needed, wavefronts=wavefronts, wavefronts_needed=fewest,
    )  # fmt: skip


def pipes_of(launch: LaunchFacts, mix: InstructionMix, of: Architecture, flaws: Flaws) -> Pipes:
    """All that one launch keeps busy, flaws included."""
    unseen = [a for a in launch.accesses if isinstance(a, UnseenAccess) and not a.atomic]
    # Addresses that could not be read are taken as if they were in order: nothing is held against them.
    hidden_global = sum(a.count * a.width_bytes for a in unseen if a.space == "global") * WARP
    hidden_shared = sum(a.count * max(1, a.width_bytes // 4) for a in unseen if a.space == "shared")
    seen = [a for a in launch.accesses if isinstance(a, GlobalAccess) and not a.atomic]
    copied = mix.async_copies if not seen and not unseen else 0.0
    lines = sum(a.count * a.lines for a in seen) + hidden_global / LINE_BYTES + copied
    sectors = flaws.sectors_fetched / SECTORS_PER_CYCLE + hidden_global / L2_BYTES_PER_CYCLE
    atomics = sum(a.count * _atomic_cycles(a) for a in launch.accesses if a.atomic)
    return Pipes(
        issue=mix.total / ISSUES_PER_CYCLE,
        fp32=(mix.fp32_fma + mix.fp32 + mix.fp16) * WARP / of.fp32_rate,
        fp64=mix.fp64 * WARP / of.fp64_rate,
        integer=mix.integer * WARP / of.integer_rate,
        special=mix.special * WARP / of.special_rate,
        matrix=mix.matrix * MATRIX_CYCLES,
        lines=lines + flaws.shared + hidden_shared + flaws.spills[0] + flaws.arrays[0] + atomics,
        sectors=sectors + flaws.spills[1] + flaws.arrays[1],
    )


def _sectors(access: GlobalAccess, metrics: MeasuredMetrics | None) -> float:
    measured = None if metrics is None else metrics.global_sectors_per_request
    return access.fetched if measured is None or access.store else max(measured, access.needed)


def _least_lines(access: GlobalAccess) -> int:
    return max(1, math.ceil(access.needed * SECTOR_BYTES / LINE_BYTES))


def _wavefronts(shared: list[SharedAccess], metrics: MeasuredMetrics | None) -> tuple[float, float]:
    fewest = sum(a.count * a.needed for a in shared)
    if metrics is not None and metrics.shared_conflict_share is not None:
        return fewest / max(1e-3, 1.0 - metrics.shared_conflict_share), fewest
    return sum(a.count * a.wavefronts for a in shared), fewest


def _local_cycles(launch: LaunchFacts, of: Architecture) -> float:
    """Cycles of the L2 port per local access: none while the stacks of all resident threads fit in the L1.

    Local memory is laid out so that a warp's 32 words are one line (CUDA guide, "Local Memory"): 4 sectors.
    """
    if launch.occupancy is None:
        return 0.0
    stacks = launch.frame_bytes * launch.occupancy.warps_per_sm * WARP
    taken = launch.static_shared_bytes + launch.dynamic_shared_bytes + of.reserved_per_block
    # L1 and shared memory are one memory (CUDA guide, "Shared Memory" of each capability).
    left = of.shared_per_sm - taken * launch.occupancy.blocks_per_sm
    return 4 / SECTORS_PER_CYCLE if stacks > left else 0.0


def _atomic_cycles(access: Access) -> float:
    match access:
        case GlobalAccess():
            same = access.stride_bytes == 0
            return SAME_ADDRESS_CYCLES if same else max(float(access.lines), access.sectors / 2)
        case SharedAccess():
            return SAME_ADDRESS_CYCLES if access.stride_bytes == 0 else float(access.wavefronts)
        case UnseenAccess():
            return 1.0
