"""Lease rows: taking, keeping and giving back a run, inside the caller's write transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update

from kforge.data.lease import Lease, LeaseOwner, expiry, is_held
from kforge.data.schema import runs
from kforge.data.write import lock_run
from kforge.errors import StoreError, UsageError


def take(connection: Connection, run_id: str, token: str, owner: LeaseOwner, now: datetime) -> Lease:
    """Write a new lease over none, a dead or an expired one.

    Raises:
        UsageError: another living process holds the run.
    """
    row = lock_run(connection, run_id)
    if row.lease_token is not None:
        holder = LeaseOwner(row.lease_host, row.lease_pid, row.lease_started)
        if is_held(holder, row.lease_expires_at, owner, now):
            host = holder.host.partition(" ")[0]
            raise UsageError(
                f"The run {row.name!r} is being driven by process {holder.pid} on {host}"
                f" (lease until {row.lease_expires_at:%H:%M:%S} UTC).",
                f"wait for it, or end it on {host} with: kill {holder.pid}",
            )
    lease = Lease(run_id, row.name, token, owner, expiry(now))
    values = {
        "lease_token": token,
        "lease_host": owner.host,
        "lease_pid": owner.pid,
        "lease_started": owner.started,
        "lease_expires_at": lease.expires_at,
    }
    connection.execute(update(runs).where(runs.c.id == run_id).values(values))
    return lease


def extend(connection: Connection, lease: Lease, now: datetime) -> Lease:
    """Move the expiry of our lease.

    Raises:
        StoreError: it is ours no more.
    """
    renewed = Lease(lease.run_id, lease.run_name, lease.token, lease.owner, expiry(now))
    mine = (runs.c.id == lease.run_id) & (runs.c.lease_token == lease.token)
    done = connection.execute(update(runs).where(mine).values(lease_expires_at=renewed.expires_at))
    if done.rowcount != 1:
        raise StoreError(
            f"This process lost the run {lease.run_name!r}: its lease of {lease.expires_at:%H:%M:%S} UTC ran"
            " out or was given back, and another process may drive it now.",
            "kforge runs list",
        )
    return renewed


def give_back(connection: Connection, lease: Lease) -> None:
    """End our lease; one that another process took over stays as it is."""
    mine = (runs.c.id == lease.run_id) & (runs.c.lease_token == lease.token)
    connection.execute(update(runs).where(mine).values(lease_token=None))
