"""Threads of other processes as the kernel shows them: whether they stand still, what they have used."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

_STILL = frozenset("TtZX")  # stopped, traced, dead


def standing(pids: Iterable[int]) -> frozenset[tuple[int, int]] | None:
    """(process, thread) of all if none can run; None if one can. A process that is gone has none.

    One that started during the look would be missing in it: two looks must agree.
    """
    found: set[tuple[int, int]] = set()
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/stat", "rb") as stat:
                    if chr(stat.read().rpartition(b") ")[2][0]) not in _STILL:
                        return None
                found.add((pid, int(thread)))
        except (FileNotFoundError, ProcessLookupError):
            if os.path.exists(f"/proc/{pid}"):
                return None
    return frozenset(found)


def processor_us(pids: Iterable[int]) -> float:
    """Processor time of all their threads so far, microseconds; who is gone counts no more."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid of the whole process
    return total * 1e6
