"""A candidate's processes, all of them: stopped, seen to stand still, let go, ended.

The process that its starter knows waits for the candidate's own, and adopts whatever loses its parent, so
the tree below it is complete.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from kforge.eval.threads import processor_us, standing

POLL_S = 50e-6
STOP_LIMIT_S = 30.0


class Tree:
    """What runs below one process.

    Args:
        root: process id of the one that its starter knows.
        with_root: it works itself and does not only wait.
    """

    def __init__(self, root: int, *, with_root: bool = False) -> None:
        self.root = root
        self._with_root = with_root
        self._members: tuple[int, ...] = ()

    def _all(self) -> tuple[int, ...]:
        return (self.root,) if self._with_root else below(self.root)

    def halt(self) -> bool:
        """Stop all; return when all stand still, False when one does not within the limit."""
        deadline = time.monotonic() + STOP_LIMIT_S
        before: frozenset[tuple[int, int]] | None = None
        while True:
            self._members = self._all()
            self._send(signal.SIGSTOP)
            threads = standing(self._members)
            # Twice the same: who was born during the first look would be missing in it.
            if threads is not None and threads == before:
                return True
            before = threads
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)

    def release(self) -> None:
        """Let those that were stopped go on."""
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """Kill all, until none is left."""
        deadline = time.monotonic() + STOP_LIMIT_S
        while (members := below(self.root)) and time.monotonic() < deadline:
            self._members = members
            self._send(signal.SIGKILL)
            time.sleep(1e-3)

    def processor_us(self) -> float:
        """Processor time of all that are known so far; who is gone counts no more."""
        return processor_us(self._members)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def below(root: int) -> tuple[int, ...]:
    """All living processes below one, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"/proc/{name}/stat", "rb") as stat,
            ):
                words = stat.read().rpartition(b") ")[2].split()
                if words[0] not in (b"Z", b"X"):
                    children.setdefault(int(words[1]), []).append(int(name))
    found: list[int] = []
    stack = [root]
    while stack:
        more = children.get(stack.pop(), [])
        found += more
        stack += more
    return tuple(found)
