"""Theoretical occupancy: how many blocks of a launch fit on an SM, and what forbids one more.

The arithmetic is that of NVIDIA's ``cuda_occupancy.h``: registers are given to whole warps within one of four
sub-partitions, shared memory to whole blocks, both rounded up.
"""

from __future__ import annotations

from kforge.diagnosis_types import Occupancy, OccupancyLimit
from kforge.eval.architectures import (
    MAX_REGISTERS,
    PARTITIONS,
    REGISTER_GRANULARITY,
    WARP,
    Architecture,
)


def occupancy(of: Architecture, *, threads: int, registers: int, shared_bytes: int) -> Occupancy | None:
    """Occupancy of one launch; None where not even one block fits.

    Args:
        of: the architecture.
        threads: per block.
        registers: per thread.
        shared_bytes: per block, static plus dynamic, without what the driver reserves.
    """
    warps = -(-threads // WARP)
    fits: dict[OccupancyLimit, int] = {
        "registers": _by_registers(of, warps, registers),
        "shared_memory": _by_shared(of, shared_bytes),
        "warps": of.max_warps_per_sm // warps,
        "blocks": of.max_blocks_per_sm,
    }
    blocks = min(fits.values())
    if blocks == 0:
        return None
    limits = tuple(name for name, count in fits.items() if count == blocks)
    return Occupancy(blocks, blocks * warps, of.max_warps_per_sm, limits)


def _by_registers(of: Architecture, warps: int, registers: int) -> int:
    if registers == 0:
        return of.max_threads_per_sm  # no limit: there are never more blocks than threads
    per_warp = _up(registers * WARP, REGISTER_GRANULARITY)
    # A block's registers are checked as if all partitions took the same number of its warps.
    if registers > MAX_REGISTERS or per_warp * _up(warps, PARTITIONS) > of.registers_per_sm:
        return 0
    resident = of.registers_per_sm // PARTITIONS // per_warp * PARTITIONS
    return resident // warps


def _by_shared(of: Architecture, shared_bytes: int) -> int:
    taken = _up(shared_bytes + of.reserved_per_block, of.shared_granularity)
    return of.shared_per_sm // taken if taken else of.max_threads_per_sm


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
