"""Builds or a benchmark, never both: on a CPU device they would share the cores that are being timed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class QuietGate:
    """Many builders may be inside together; a benchmark is inside alone and goes first when it waits."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._builders = 0
        self._benchmarks = 0
        self._running = False

    @contextlib.asynccontextmanager
    async def building(self) -> AsyncIterator[None]:
        """Hold off benchmarks for the time of one build."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._benchmarks == 0)
            self._builders += 1
        try:
            yield
        finally:
            async with self._changed:
                self._builders -= 1
                self._changed.notify_all()

    async def begin_benchmark(self) -> None:
        """Keep new builds out and wait for the running ones to end."""
        async with self._changed:
            self._benchmarks += 1
            try:
                await self._changed.wait_for(lambda: self._builders == 0 and not self._running)
            except BaseException:
                self._benchmarks -= 1
                self._changed.notify_all()
                raise
            self._running = True

    async def end_benchmark(self) -> None:
        """Let builds in again."""
        async with self._changed:
            self._benchmarks -= 1
            self._running = False
            self._changed.notify_all()
