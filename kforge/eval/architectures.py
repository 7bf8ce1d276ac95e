"""Limits and rates of NVIDIA's architectures, as NVIDIA documents them.

Sources. Limits: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability", and
``cuda_occupancy.h`` of the CUDA runtime for blocks and granularities (``tests/eval/test_occupancy.py``
compares with that header). Rates: the same guide, "Throughput of Native Arithmetic Instructions", results per
cycle and SM; shared memory has 32 banks of 4 bytes per cycle on all of them ("Shared Memory").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

WARP = 32
# Starting with Ampere the driver keeps this much shared memory of every block (cuda_occupancy.h,
# reservedSharedMemPerBlock).
RESERVED_PER_BLOCK = 1024
REGISTER_GRANULARITY = 256  # registers per warp are rounded up to it
PARTITIONS = 4  # sub-partitions of an SM, each with its own registers and scheduler
MAX_REGISTERS = 255  # of a thread
# From L2 to an SM, bytes per cycle: NVIDIA states 5,120 for the 108 SMs of an A100 (A100 whitepaper, 2020);
# 64 is the width of one SM's port that microbenchmarks see (Jia et al. 2018, arXiv:1804.06826, for Volta).
L2_BYTES_PER_CYCLE = 64
SECTOR_BYTES = 32
LINE_BYTES = 128


@dataclass(frozen=True, slots=True)
class Architecture:
    """One compute capability.

    Attributes:
        shared_granularity: bytes to which a block's shared memory is rounded up.
        fp32_rate: results per cycle and SM, likewise the others.
    """

    max_threads_per_sm: int
    max_blocks_per_sm: int
    registers_per_sm: int
    shared_per_sm: int
    shared_granularity: int
    reserved_per_block: int
    fp32_rate: int
    fp64_rate: int
    integer_rate: int
    special_rate: int

    @property
    def max_warps_per_sm(self) -> int:
        """Warps that an SM holds."""
        return self.max_threads_per_sm // WARP


def _of(threads: int, blocks: int, shared_kib: int, fp32: int, fp64: int) -> Architecture:
    return Architecture(
        max_threads_per_sm=threads, max_blocks_per_sm=blocks, registers_per_sm=65536,
        shared_per_sm=shared_kib << 10, shared_granularity=128, reserved_per_block=RESERVED_PER_BLOCK,
        fp32_rate=fp32, fp64_rate=fp64, integer_rate=64, special_rate=16,
    )  # fmt: skip


ARCHITECTURES: Mapping[str, Architecture] = {
    "75": Architecture(1024, 16, 65536, 64 << 10, 256, 0, 64, 2, 64, 16),
    "80": _of(2048, 32, 164, 64, 32),
    "86": _of(1536, 16, 100, 128, 2),
    "87": _of(1536, 16, 164, 128, 2),
    "89": _of(1536, 24, 100, 128, 2),
    "90": _of(2048, 32, 228, 128, 64),
    "100": _of(2048, 32, 228, 128, 64),
    "103": _of(2048, 32, 228, 128, 2),
    "120": _of(1536, 24, 100, 128, 2),
}


def architecture(name: str) -> Architecture | None:
    """The entry of ``sm_90a`` and its kin; None for an architecture that the table lacks."""
    found = re.fullmatch(r"sm_(\d+)[af]?", name)
    return ARCHITECTURES.get(found[1]) if found else None
