"""What goes on beside the search of a session: the stop signal is announced, the lease renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from kforge.clock import Clock
from kforge.data.lease import LEASE_S, Lease
from kforge.search.events import StopRequested
from kforge.search.stop import StopSignal

if TYPE_CHECKING:
    from kforge.data.store import Store

RENEW_S = LEASE_S / 3


async def announce_stop(
    stop: StopSignal,
    on_event: Callable[[StopRequested], None],
    under_way: Callable[[], int],
    outstanding: Callable[[], int],
) -> None:
    """Announce both stop requests; returns at the second, which ends the loop."""
    await stop.wait_above(0)
    on_event(StopRequested(1, under_way()))
    await stop.wait_above(1)
    on_event(StopRequested(2, outstanding()))


async def keep_lease(lease: Lease | None, store: Store, clock: Clock) -> None:
    """Renew the right to drive a run, for ever.

    Raises:
        UsageError: another process took it.
    """
    while True:
        await asyncio.sleep(RENEW_S)
        if lease is not None:
            lease = store.renew(lease, clock.now())
