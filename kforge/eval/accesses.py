"""What a warp's memory requests cost: sectors and lines of global memory, wavefronts of shared memory.

Sources: CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory" (32-byte segments) and "Shared
Memory and Memory Banks" (32 banks of 4 bytes, one word of each per cycle); Nsight Compute documentation,
"Memory Tables", for requests, sectors and wavefronts, and for 8- and 16-byte shared accesses, which take a
half and a quarter of a warp at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from kforge.diagnosis_types import Access, GlobalAccess, SharedAccess, UnseenAccess
from kforge.eval.address_flow import Request
from kforge.eval.architectures import LINE_BYTES, SECTOR_BYTES
from kforge.eval.facts import LOOP_WEIGHT
from kforge.eval.lanes import Hidden, Known

BANK_BYTES = 4
BANKS = 32
# Kinds of access kept per kernel, those with most weight.
MAX_ACCESSES = 32


def accesses(requests: Sequence[Request], active: int) -> tuple[Access, ...]:
    """Kinds of access of a kernel, the weightiest first; equal ones are one entry with their counts summed.

    Args:
        requests: of ``address_flow.requests``.
        active: threads of the block's first warp.
    """
    together: dict[tuple[object, ...], set[int]] = defaultdict(set)
    members: dict[tuple[object, ...], int] = defaultdict(int)
    for request in requests:
        if request.space == "global" and isinstance(request.address, Known):
            starts = _relative(request.address, active)
            together[request.group] |= _pieces(starts, request.width_bytes, SECTOR_BYTES)
            members[request.group] += 1
    totals: dict[Access, float] = defaultdict(float)
    for request in requests:
        shared_out = len(together[request.group]) / max(1, members[request.group])
        found = _access(request, shared_out, active)
        totals[found] += LOOP_WEIGHT ** min(request.depth, 3)
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    return tuple(replace(access, count=count) for access, count in ordered[:MAX_ACCESSES])


def _access(request: Request, shared_out: float, active: int) -> Access:
    address = request.address
    if isinstance(address, Hidden):
        return UnseenAccess(
            request.space, request.store, request.width_bytes, 0.0, address.reason, request.atomic
        )
    starts = _relative(address, active)
    common = (request.store, request.width_bytes, 0.0, _stride(starts))
    if request.space == "shared":
        wavefronts, needed = _wavefronts(starts, request.width_bytes)
        return SharedAccess(*common, wavefronts, needed, request.atomic)
    touched = _pieces(starts, request.width_bytes, SECTOR_BYTES)
    own = {byte for start in starts for byte in range(start, start + request.width_bytes)}
    needed = max(1, -(-len(own) // SECTOR_BYTES))
    # Accesses beside this one bring in the same sectors: each pays its part, and never less than it needs.
    fetched = max(min(len(touched), shared_out), min(needed, len(touched)))
    lines = len(_pieces(starts, request.width_bytes, LINE_BYTES))
    return GlobalAccess(*common, len(touched), lines, fetched, needed, request.atomic)


def _relative(address: Known, active: int) -> list[int]:
    """Byte offsets of the active lanes, as if the unknown base lay on a line.

    Where offsets wrap around below zero they are moved up by whole lines.
    """
    values = [lane - (1 << 32) if lane >> 31 else lane for lane in address.lanes[:active]]
    lowest = min(values)
    shift = -(lowest // LINE_BYTES) * LINE_BYTES if lowest < 0 else 0
    return [value + shift for value in values]


def _stride(starts: Sequence[int]) -> int | None:
    gaps = {b - a for a, b in pairwise(starts)}
    return gaps.pop() if len(gaps) == 1 else 0 if not gaps else None


def _pieces(starts: Iterable[int], width: int, size: int) -> set[int]:
    return {piece for start in starts for piece in range(start // size, (start + width - 1) // size + 1)}


def _wavefronts(starts: Sequence[int], width: int) -> tuple[int, int]:
    """(cycles, fewest cycles): in each, every bank gives one word to all lanes that ask for it."""
    at_once = max(1, BANKS * BANK_BYTES // max(width, BANK_BYTES))
    cycles = fewest = 0
    for first in range(0, len(starts), at_once):
        words = _pieces(starts[first : first + at_once], width, BANK_BYTES)
        per_bank: dict[int, int] = defaultdict(int)
        for word in words:
            per_bank[word % BANKS] += 1
        cycles += max(per_bank.values())
        fewest += max(1, -(-len(words) // BANKS))
    return cycles, fewest
