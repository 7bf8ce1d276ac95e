"""Who drives a run: one process at a time, and a dead one never blocks the next."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class LeaseOwner:
    """A process that can be recognised again.

    Attributes:
        host: host name plus boot and process namespace, so that a pid of another container or of an
            earlier boot is never mistaken for one of ours.
        pid: process id within that namespace.
        started: start time of the process as the kernel counts it; empty where there is no /proc.
    """

    host: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive a run until ``expires_at``, kept by renewing."""

    run_id: str
    run_name: str
    token: str
    owner: LeaseOwner
    expires_at: datetime


def this_process() -> LeaseOwner:
    """The calling process."""
    return process(os.getpid())


def process(pid: int) -> LeaseOwner:
    """A process of this host."""
    return LeaseOwner(_host(), pid, _started(pid) or "")


def expiry(now: datetime) -> datetime:
    """When a lease taken or renewed at ``now`` ends."""
    return now + timedelta(seconds=LEASE_S)


def is_held(owner: LeaseOwner, expires_at: datetime, me: LeaseOwner, now: datetime) -> bool:
    """Whether ``me`` must keep away from a lease of ``owner``.

    On this host the process itself answers, expiry or not: a suspended driver still holds its run.
    Elsewhere, and for a forgotten lease of our own process, only the expiry can tell.
    """
    if owner.host == me.host and owner != me:
        return _alive(owner)
    return now < expires_at


def _host() -> str:
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        pass  # no /proc: the host name alone has to do
    return " ".join(parts)


def _alive(owner: LeaseOwner) -> bool:
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists and belongs to someone else
    started = _started(owner.pid)
    # A process that exists but hides its details (hidepid) counts as alive: its expiry is no proof of death.
    return started is None or not owner.started or started == owner.started


def _started(pid: int) -> str | None:
    """Start time in clock ticks since boot; "dead" for a zombie; None when it cannot be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return "dead" if fields[0] in "ZX" else fields[19]
