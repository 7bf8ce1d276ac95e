"""The verifier's end of a runner: start, ask with a deadline, kill."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import select
import signal
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any, get_args

from kforge.clock import Clock
from kforge.errors import InfraError
from kforge.eval.arena import Arena
from kforge.eval.runner_main import GO, NOOP
from kforge.types import CheckFailure

REPLY_BYTES = 64 * 1024
SEND_LIMIT_S = 10.0


class RunnerFailed(Exception):
    """The runner ended, hung or refused; what that means is for the verifier to say."""


class RunnerDied(RunnerFailed):
    """The process is gone."""

    def __init__(self, exit_code: int | None) -> None:
        if exit_code is not None and exit_code < 0:
            name = signal.Signals(-exit_code).name if -exit_code in list(signal.Signals) else str(-exit_code)
            how = f"killed by {name}"
        else:
            how = f"exit code {exit_code}"
        super().__init__(how)
        self.how = how


class RunnerHung(RunnerFailed):
    """No answer within the deadline, in seconds; None where it was not for an answer that was waited."""

    def __init__(self, reason: str, limit_s: float | None = None) -> None:
        super().__init__(reason)
        self.limit_s = limit_s


class RunnerMoved(RunnerFailed):
    """It was to stand still and did not; the text says what showed it."""


class RunnerRefused(RunnerFailed):
    """The runtime refused a module or a launch, or found damage; the text says why, the kind what it was."""

    def __init__(self, reason: str, kind: CheckFailure = "launch") -> None:
        super().__init__(reason)
        self.kind: CheckFailure = kind


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed request.

    Attributes:
        wall_us: by our clock, from request to reply.
        device_us: by the runner's claim.
        ahead: whether the host had enqueued everything before the device began; a sample that it had not is
            the host's time, not the device's.
    """

    wall_us: float
    device_us: float
    ahead: bool


class RunnerClient:
    """One runner process and its arena.

    Args:
        context: ``multiprocessing`` context: a forkserver with torch preloaded, or spawn.
        target: module-level function run in the child with the connection.
        job: JSON-able job, sent first.
        arena_bytes: size of the shared memory.
    """

    def __init__(
        self,
        context: multiprocessing.context.BaseContext,
        target: Callable[[Connection], None],
        job: dict[str, Any],
        arena_bytes: int,
    ) -> None:
        self._closed = False
        self._loading = True
        self._connection, child = context.Pipe(duplex=True)
        self.arena = Arena.create(arena_bytes)
        process_class: Any = context.Process  # type: ignore[attr-defined]
        self._process = process_class(target=target, args=(child,), daemon=True)
        self._process.start()
        # A process that stands still ends by no other signal, and the interpreter waits for it when it ends.
        self._last_resort = weakref.finalize(self, _end, self._process.pid)
        child.close()
        try:
            self._connection.send_bytes(json.dumps({**job, "arena_bytes": self.arena.size}).encode())
            send_handle(self._connection, self.arena.descriptor, self._process.pid)
        except OSError:
            pass  # the child died at once; the first wait says how

    @property
    def pid(self) -> int:
        """Process id, for tests and diagnostics."""
        return int(self._process.pid)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return bool(self._process.is_alive())

    def wait_loaded(self, limit_s: float) -> None:
        """Wait until the runner has loaded its job.

        Raises:
            InfraError: it says that it cannot work at all; no candidate code has run yet.
        """
        self._receive_json(limit_s)
        self._loading = False

    def ask(self, request: Mapping[str, object], limit_s: float) -> None:
        """Have the session do something that nobody times."""
        self._send(json.dumps(request).encode())
        self._receive_json(limit_s)

    def prepare(self, poison: int, limit_s: float) -> None:
        """Have the given values copied in and everything else poisoned."""
        self.ask({"do": "prepare", "poison": poison}, limit_s)

    def export(self, limit_s: float) -> None:
        """Have outputs, given values and guard zones copied to the arena."""
        self.ask({"do": "export"}, limit_s)

    def go(self, clock: Clock, limit_s: float) -> Sample:
        """Run once."""
        return self.timed(GO, clock, limit_s)

    def noop(self, clock: Clock, limit_s: float) -> Sample:
        """An empty request: the floor under every sample."""
        return self.timed(NOOP, clock, limit_s)

    def timed(
        self, request: bytes, clock: Clock, limit_s: float, begin: Callable[[], None] = lambda: None
    ) -> Sample:
        """One request from its sending to its reply; ``begin`` is called in between, on the clock."""
        started = clock.monotonic()
        self._send(request)
        begin()
        reply = self._receive(limit_s)
        wall_us = (clock.monotonic() - started) * 1e6
        word, _, figure = reply.partition(b" ")
        if word not in (b"ok", b"late"):
            raise self._not_ok(reply)
        try:
            device_us = float(figure)
        except ValueError as error:
            raise RunnerDied(None) from error
        if not math.isfinite(device_us):
            raise RunnerDied(None)
        return Sample(wall_us, device_us, word == b"ok")

    def _send(self, data: bytes) -> None:
        """One frame; a runner that answers without reading would let a sender wait for ever."""
        room = select.poll()
        try:
            room.register(self._connection.fileno(), select.POLLOUT)
            if not room.poll(SEND_LIMIT_S * 1e3):
                self.kill()
                raise RunnerHung(f"no request was read within {SEND_LIMIT_S:g} s", SEND_LIMIT_S)
            self._connection.send_bytes(data)
        except OSError as error:
            raise self._died() from error

    def _receive(self, limit_s: float) -> bytes:
        """One frame; a runner that was taken over may stop in the middle of it, or announce gigabytes."""
        deadline = time.monotonic() + limit_s
        size = int.from_bytes(self._read(4, deadline, limit_s), "big", signed=True)
        if not 0 <= size <= REPLY_BYTES:
            self.kill()
            raise RunnerDied(None)
        return self._read(size, deadline, limit_s)

    def _read(self, size: int, deadline: float, limit_s: float) -> bytes:
        received = b""
        while len(received) < size:
            try:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    self.kill()
                    raise RunnerHung(f"no answer within {limit_s:g} s", limit_s)
                chunk = os.read(self._connection.fileno(), size - len(received))
            except OSError as error:
                raise self._died() from error
            if not chunk:
                raise self._died()
            received += chunk
        return received

    def _receive_json(self, limit_s: float) -> None:
        reply = self._receive(limit_s)
        if reply != b"{}":
            raise self._not_ok(reply)

    def _not_ok(self, reply: bytes) -> RunnerFailed | InfraError:
        try:
            document = json.loads(reply)
            if self._loading and "broken" in document:
                return InfraError(str(document["broken"])[:4000], "run `kforge doctor`")
            refusal, kind = document["refused"], document.get("kind", "launch")
            known: CheckFailure = kind if kind in get_args(CheckFailure) else "launch"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return RunnerDied(None)
        return RunnerRefused(str(refusal)[:4000], known)

    def _died(self) -> RunnerDied:
        self._process.join(5.0)
        return RunnerDied(self._process.exitcode)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Keep the runner from using a processor: what it left running would slow whatever is timed now."""
        self.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send_signal(signal.SIGCONT)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it is still there."""
        if self._process.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process and whatever it started; free the arena. Safe to call twice."""
        pid = self._process.pid
        if pid is not None and self._process.is_alive():
            for target in (os.killpg, os.kill):
                try:
                    target(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
        self._process.join(10.0)

    def close(self) -> None:
        """Kill the runner and unmap the arena; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._last_resort.detach()
        self.kill()
        self._connection.close()
        self.arena.close()


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
