"""How much of the machine others used while we timed: on a CPU device they share the cores that are timed.

Linux only, from /proc/stat (all busy time) and /proc/PID/stat (our own processes). Where /proc tells nothing,
the answer is None and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class BusyOthers:
    """Watches from its construction until ``share`` is asked.

    Args:
        own: process ids whose time is ours.
    """

    def __init__(self, own: Iterable[int]) -> None:
        self._own = tuple(own)
        self._start = self._read()

    def share(self) -> float | None:
        """Processor time of others since construction, as a share of all processors; None if unknown."""
        end = self._read()
        if self._start is None or end is None:
            return None
        total, busy, own = (b - a for a, b in zip(self._start, end, strict=True))
        return max(0.0, (busy - own) / total) if total > 0 else 0.0

    def _read(self) -> tuple[int, int, int] | None:
        try:
            words = [int(w) for w in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            own = sum(_ticks(pid) for pid in self._own)
        except (OSError, ValueError, IndexError):
            return None
        idle = words[3] + words[4]
        return sum(words), sum(words) - idle, own


def _ticks(pid: int) -> int:
    """User and system time of a process with all its threads, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
