"""Processes and threads of others as the kernel shows them: which there are, whether they stand still.

All of this is read while those who are looked at may run, so one look proves nothing: who stops them looks
until two looks agree, and no look counts in which somebody vanished.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

_DEAD = frozenset("ZX")
_STILL = frozenset("Tt") | _DEAD  # stopped, traced
_THREADS = 17  # of a stat line's words from the state on: how many threads
_KERNEL_TELLS = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # CONFIG_PROC_CHILDREN


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a process and all that it started.

    Attributes:
        members: process ids, parents first.
        threads: (process, thread) of all in which something lives.
        still: none of them can run, and none vanished while it was looked at.
    """

    members: tuple[int, ...]
    threads: frozenset[tuple[int, int]]
    still: bool


def look(root: int, *, with_root: bool) -> Look:
    """Look at what each thread of a process has started, down to the last.

    A parent that stands still starts nobody, and what it has started is its child until it goes on. So where
    all stand still, all are seen.

    Args:
        root: process id.
        with_root: it is looked at itself; else it only waits for the others.
    """
    members: list[int] = []
    threads: set[tuple[int, int]] = set()
    still = True
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        counts = with_root or pid != root
        members += [pid] if counts else []
        try:
            states = _states(pid)
            waiting += _started(pid, states)
        except (FileNotFoundError, ProcessLookupError):
            # Who ends while it is looked at may have started somebody, who is then somebody else's child.
            still = False
            continue
        if counts:
            threads |= {(pid, thread) for thread, state in states.items() if state not in _DEAD}
            still = still and all(state in _STILL for state in states.values())
    return Look(tuple(members), frozenset(threads), still)


def standing(pids: Iterable[int]) -> frozenset[tuple[int, int]] | None:
    """(process, thread) of all if none can run; None if one can. A process that is gone has none.

    One that started during the look would be missing in it: two looks must agree.
    """
    found: set[tuple[int, int]] = set()
    for pid in pids:
        try:
            states = _states(pid)
        except (FileNotFoundError, ProcessLookupError):
            if os.path.exists(f"/proc/{pid}"):
                return None
            continue
        if not all(state in _STILL for state in states.values()):
            return None
        found |= {(pid, thread) for thread in states}
    return frozenset(found)


def _states(pid: int) -> dict[int, str]:
    """The state of every thread of one process."""
    return {
        int(name): _words(f"/proc/{pid}/task/{name}/stat")[0].decode()
        for name in os.listdir(f"/proc/{pid}/task")
    }


def _started(pid: int, threads: Iterable[int]) -> list[int]:
    """Processes that one has started or adopted.

    Raises:
        FileNotFoundError: it is gone, or one that could have been its child went while it was looked at.
    """
    if not _KERNEL_TELLS:
        return _parents(strict=True).get(pid, [])
    children: list[int] = []
    for thread in threads:
        with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            children += [int(word) for word in file.read().split()]
    return children


def below(root: int) -> tuple[int, ...]:
    """All processes below one in which something can still run, parents first."""
    children = _parents(strict=False)
    found: list[int] = []
    stack = [root]
    while stack:
        more = children.get(stack.pop(), [])
        found += more
        stack += more
    return tuple(found)


def _parents(*, strict: bool) -> dict[int, list[int]]:
    """Process to the living below it, of the whole machine; strictly, only if nobody ends meanwhile."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            words = _words(f"/proc/{name}/stat")
        except (FileNotFoundError, ProcessLookupError):
            if strict:
                raise
            continue
        # One whose first thread has ended shows as dead, and its other threads go on.
        if words[0] not in (b"Z", b"X") or int(words[_THREADS]) > 1:
            children.setdefault(int(words[1]), []).append(int(name))
    return children


def processor_us(pid: int) -> float:
    """Processor time of all threads of a process so far, microseconds; 0 if it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2) * 1e6  # clock_getcpuclockid of the whole process
    except OSError:
        return 0.0


def _words(path: str) -> list[bytes]:
    """A stat line from the state on: what stands before it is chosen by the process."""
    with open(path, "rb") as file:
        return file.read().rpartition(b") ")[2].split()
