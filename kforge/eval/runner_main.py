"""The loop of a runner process: requests in, replies out, over one connection.

Runs inside the disposable process. A request is one JSON document (or the two bytes ``go``, which is what
the verifier times); a reply is one JSON document (or ``ok`` plus the device time; ``late`` in its place where
the host did not enqueue ahead of the device). What a runner says is a claim: the verifier checks outputs
itself and holds its own clock against it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, NamedTuple, Protocol

from kforge.eval.arena import Arena
from kforge.types import CheckFailure

GO = b"go"
NOOP = b"no"


class Run(NamedTuple):
    """One timed run: device microseconds, and whether all of it was enqueued before the device began."""

    device_us: float
    ahead: bool = True


class Session(Protocol):
    """What a runner does; candidates and baselines of every language satisfy it."""

    def go(self) -> Run:
        """Run the plan once and wait for it."""
        ...

    def noop(self) -> Run:
        """What ``go`` does for an empty plan."""
        ...

    def handle(self, request: dict[str, Any]) -> None:
        """Do what the request's ``do`` says, one of this session's own words."""
        ...


class SessionMaker(Protocol):
    """Builds a session from the verifier's job."""

    def __call__(self, job: dict[str, Any], arena: Arena) -> Session:
        """Load everything; raises ``LaunchRefused`` when the runtime refuses the candidate's module."""
        ...


class LaunchRefused(Exception):
    """The runtime refused to load or launch a kernel, or found damage; the text is for the proposer."""

    def __init__(self, reason: str, kind: CheckFailure = "launch") -> None:
        super().__init__(reason)
        self.kind: CheckFailure = kind


class RunnerBroken(Exception):
    """The runner itself cannot work, whatever the candidate: told as broken infrastructure."""


def serve(connection: Connection, maker: SessionMaker) -> None:
    """Serve requests until the connection closes. Never returns to forked code.

    The sandbox border: whatever goes wrong in here is told to the verifier, which decides what it means.
    """
    try:
        _serve(connection, maker)
    except (EOFError, ConnectionError):
        pass
    except RunnerBroken as error:
        with contextlib.suppress(OSError):
            connection.send_bytes(json.dumps({"broken": str(error)[:4000]}).encode())
    except Exception as error:  # noqa: BLE001 - the sandbox border
        with contextlib.suppress(OSError):
            _refuse(connection, f"the runner failed: {type(error).__name__}: {error}")
    finally:
        os._exit(0)


def _refuse(connection: Connection, reason: str, kind: CheckFailure = "launch") -> None:
    connection.send_bytes(json.dumps({"refused": reason[:4000], "kind": kind}).encode())


def _serve(connection: Connection, maker: SessionMaker) -> None:
    _silence()
    job = json.loads(connection.recv_bytes())
    arena = Arena(recv_handle(connection), int(job["arena_bytes"]))
    session: Session | None = None
    while True:
        try:
            if session is None:
                session = maker(job, arena)
                connection.send_bytes(b"{}")
            request = connection.recv_bytes()
            if request == GO:
                connection.send_bytes(_told(session.go()))
            elif request == NOOP:
                connection.send_bytes(_told(session.noop()))
            else:
                session.handle(json.loads(request))
                connection.send_bytes(b"{}")
        except LaunchRefused as refusal:
            _refuse(connection, str(refusal), refusal.kind)
            if session is None:
                return


def _told(run: Run) -> bytes:
    return b"%s %.3f" % (b"ok" if run.ahead else b"late", run.device_us)


def _silence() -> None:
    """Crash banners of the drivers belong in no terminal: standard output and error go nowhere."""
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    if nowhere > 2:
        os.close(nowhere)
