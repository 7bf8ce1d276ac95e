"""A candidate's processes, all of them: stopped, seen to stand still, found as they were left, let go, ended.

The process that its starter knows waits for the candidate's own, and adopts whatever loses its parent, so
the tree below it is complete.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

from kforge.clock import Clock
from kforge.eval.threads import Look, below, look, processor_us

POLL_S = 50e-6
STOP_LIMIT_S = 30.0
# What the kernel may charge a thread that it is just taking off its processor.
SETTLING_US = 50.0
# Somebody else's process that ends during a look spoils it; somebody who runs spoils all.
RELOOK_LIMIT_S = 0.5


@dataclass(frozen=True, slots=True)
class _Left:
    """How all stood when they were stopped."""

    threads: frozenset[tuple[int, int]]
    main: int
    processor_us: dict[int, float]


class Tree:
    """What runs below one process.

    Args:
        root: process id of the one that its starter knows.
        with_root: it works itself and does not only wait.
    """

    def __init__(self, root: int, *, with_root: bool = False) -> None:
        self.root = root
        self._with_root = with_root
        self._members: tuple[int, ...] = (root,) if with_root else ()
        self._left: _Left | None = None

    def _look(self) -> Look:
        seen = look(self.root, with_root=self._with_root)
        self._members = seen.members
        return seen

    def halt(self, clock: Clock) -> float | None:
        """Stop all, and return when all stand still.

        Returns:
            Seconds on the clock when they did; None when one does not within the limit.
        """
        deadline = time.monotonic() + STOP_LIMIT_S
        before: Look | None = None
        seen_s = 0.0
        while True:
            self._send(signal.SIGSTOP)
            seen, now_s = self._look(), clock.monotonic()
            # Twice the same: who was born during the first look would be missing in it.
            if seen.still and before is not None and seen.threads == before.threads:
                used_us = {pid: processor_us(pid) for pid in seen.members}
                self._left = _Left(seen.threads, next(iter(seen.members), self.root), used_us)
                return seen_s
            before, seen_s = (seen, now_s) if seen.still else (None, 0.0)
            if time.monotonic() > deadline:
                return None
            if not seen.still:
                time.sleep(POLL_S)

    def moved(self) -> str | None:
        """What shows that one of them did not stand still since all were stopped; None for nothing.

        A stopped process can have itself woken: by a timer, by a helper, by the kernel as a pipe fills.
        """
        left = self._left
        if left is None:
            return None
        deadline = time.monotonic() + RELOOK_LIMIT_S
        while not (seen := self._look()).still and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if left.main not in seen.members:
            return None  # it was killed, which the next request says better
        if not seen.still:
            return "one of its threads runs"
        if seen.threads != left.threads:
            return (
                f"it had {len(left.threads)} threads, and has {len(seen.threads)}, not all of them the same"
            )
        used_us = sum(processor_us(pid) - left.processor_us.get(pid, 0.0) for pid in seen.members)
        if used_us > SETTLING_US:
            return f"it used {used_us:.0f} us of processor time"
        return None

    def release(self) -> None:
        """Let those that were stopped go on."""
        self._left = None
        self._send(signal.SIGCONT)

    def end(self) -> None:
        """Kill all, until none is left."""
        deadline = time.monotonic() + STOP_LIMIT_S
        while (members := below(self.root)) and time.monotonic() < deadline:
            self._members = members
            self._send(signal.SIGKILL)
            time.sleep(1e-3)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
