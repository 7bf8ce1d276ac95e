"""How a running search is asked to end: once to drain, twice to cancel."""

from __future__ import annotations

import asyncio


class StopSignal:
    """Counts stop requests. Used on the event loop's thread only, signal handlers of the loop included."""

    def __init__(self) -> None:
        self._drain = asyncio.Event()
        self._cancel = asyncio.Event()

    def request(self) -> None:
        """Ask to stop: the first call drains what is in flight, the second cancels it."""
        (self._cancel if self._drain.is_set() else self._drain).set()

    @property
    def level(self) -> int:
        """0 while running, 1 while draining, 2 once cancelled."""
        return int(self._drain.is_set()) + int(self._cancel.is_set())

    async def wait_above(self, level: int) -> None:
        """Return once ``self.level`` is greater than ``level``, which is 0 or 1."""
        await (self._drain if level == 0 else self._cancel).wait()
