"""Where a plan's storages lie in the one device allocation of a CUDA runner, guard zones around each.

One allocation, exported once: the verifier maps it, writes inputs into it and reads outputs out of it. The
runner never maps memory of the verifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kforge.eval.arena import ALIGN_BYTES, GUARD_BYTES
from kforge.eval.plan import GIVEN_ROLES

# Allocations of this granularity share their block with nothing else, which matters when it is exported.
BLOCK_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Zone:
    """Guard bytes from ``start`` to ``stop``, on one side of a storage."""

    start: int
    stop: int
    storage: int
    side: str


@dataclass(frozen=True, slots=True)
class DeviceLayout:
    """Byte offsets into the allocation.

    Attributes:
        offsets: storage id to the byte at which it begins. Library operators allocate their own results;
            one that is an output has a place here to be copied to.
        writable: storage ids of what kernels may write: poisoned before every run.
        zones: all guard zones, in address order.
        size: bytes in all.
    """

    offsets: Mapping[int, int]
    writable: tuple[int, ...]
    zones: tuple[Zone, ...]
    size: int


def lay_out_plan(storages: Sequence[Mapping[str, Any]], outputs: Sequence[int]) -> DeviceLayout:
    """Place every storage.

    Args:
        storages: of the plan, as JSON data.
        outputs: storage ids of the outputs.
    """
    position = 0
    offsets: dict[int, int] = {}
    zones: list[Zone] = []
    for storage in storages:
        if storage["role"] == "op" and storage["id"] not in outputs:
            continue
        name, size = int(storage["id"]), int(storage["bytes"])
        begin = position + GUARD_BYTES
        # The zone behind starts at the very next byte: an overrun by one element must show.
        stop = -(-(begin + size) // ALIGN_BYTES) * ALIGN_BYTES + GUARD_BYTES
        zones += [Zone(position, begin, name, "before"), Zone(begin + size, stop, name, "after")]
        offsets[name] = begin
        position = stop
    position = -(-max(position, ALIGN_BYTES) // BLOCK_BYTES) * BLOCK_BYTES
    if zones:
        # Whole blocks are allocated: what no storage needs of the last one is watched too.
        zones[-1] = replace(zones[-1], stop=position)
    writable = tuple(s["id"] for s in storages if s["id"] in offsets and s["role"] not in GIVEN_ROLES)
    return DeviceLayout(offsets, writable, tuple(zones), position)
