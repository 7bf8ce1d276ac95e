"""The driver's end of a measuring process: start, ask, restart when it hangs or dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from kforge.errors import InfraError, KforgeError
from kforge.eval.sandbox import PACKAGE_ROOT
from kforge.eval.scratch import Scratch
from kforge.eval.threads import below
from kforge.workers.hardware import device_environment

LINE_LIMIT_BYTES = 64 << 20
PROGRAM = "kforge.eval.worker"
SCRATCH_VARIABLE = "KFORGE_SCRATCH"
# Looked for this often while an answer is awaited; stopped at two looks in a row, a process is given up.
STOPPED_LOOK_S = 3.0
# What was killed and does not end is stuck in a driver; nothing waits for it longer.
KILL_WAIT_S = 10.0

Answer = TypeVar("Answer")


class WorkerLost(Exception):
    """The measuring process died or hung in the middle of a request."""


class RemoteError(KforgeError):
    """An error that the measuring process reported, with its own code and exit code."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error["message"]), str(error["next"]))
        self.code = str(error["code"])
        self.exit_code = int(error["exit"])


class MeasuringProcess:
    """One ``kforge.eval.worker`` process; one request at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._scratch: Scratch | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start a fresh process.

        Raises:
            InfraError: it could not be started.
        """
        environment = device_environment() | {"PYTHONPATH": PACKAGE_ROOT}
        places = ("HOME", "KFORGE_CACHE", "XDG_CACHE_HOME")  # where pulled tasks are
        environment |= {name: os.environ[name] for name in places if name in os.environ}
        try:
            self._scratch = Scratch("kforge-measure-")
            environment[SCRATCH_VARIABLE] = self._scratch.path
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", PROGRAM,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=None,
                env=environment, start_new_session=True, limit=LINE_LIMIT_BYTES,
            )  # fmt: skip
        except OSError as error:
            raise InfraError(
                f"The measuring process cannot be started: {error}.", "run `kforge doctor`"
            ) from error

    async def ask(
        self,
        request: dict[str, Any],
        limit_s: float,
        on_stage: Callable[[str], Awaitable[None]] | None = None,
    ) -> Any:  # noqa: ANN401 - plain JSON data
        """Send a request and wait for its result. At every stage the process waits for ``on_stage``.

        Raises:
            RemoteError: the process answered with an error.
            WorkerLost: it died, was stopped, or gave no answer within ``limit_s``; it is killed then.
        """
        if self._process is None:
            raise WorkerLost("the measuring process was not started")
        try:
            async with asyncio.timeout(limit_s):
                return await self._converse(self._process, request, on_stage)
        except TimeoutError as error:
            await self.kill()
            raise WorkerLost(f"no answer within {limit_s:g} s; it was killed") from error
        except (BrokenPipeError, ConnectionResetError, json.JSONDecodeError) as error:
            await self.kill()
            raise WorkerLost(f"the connection broke: {error}") from error
        except (WorkerLost, asyncio.CancelledError):
            await self.kill()
            raise

    async def _converse(
        self,
        process: asyncio.subprocess.Process,
        request: dict[str, Any],
        on_stage: Callable[[str], Awaitable[None]] | None,
    ) -> Any:  # noqa: ANN401
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await _unless_stopped(process.pid, process.stdin.drain())
        while True:
            line = await _unless_stopped(process.pid, process.stdout.readline())
            if not line:
                raise WorkerLost(await self._how_it_ended())
            answer = json.loads(line)
            if "result" in answer:
                return answer["result"]
            if "error" in answer:
                raise RemoteError(answer["error"])
            if on_stage is not None:
                await on_stage(answer["stage"])
            process.stdin.write(b'{"do": "continue"}\n')

    async def _how_it_ended(self) -> str:
        assert self._process is not None
        code = await self._process.wait()
        return f"killed by signal {-code}" if code < 0 else f"ended with code {code}"

    async def kill(self) -> None:
        """End the process and everything it started; safe to call at any time."""
        process, self._process = self._process, None
        scratch, self._scratch = self._scratch, None
        if process is not None and scratch is not None:
            await _end(process, scratch.path)
        if scratch is not None:
            scratch.remove()


async def _end(process: asyncio.subprocess.Process, scratch: str) -> None:
    for pid in {*below(process.pid), *_orphans(scratch)}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), KILL_WAIT_S)
    transport = process._transport  # type: ignore[attr-defined]
    transport.close()


async def _unless_stopped(leader: int, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await ``work``, as long as no process of the leader's group stands still.

    Runners and baselines lead groups of their own: the verifier has deadlines for them, and may pause them.

    Raises:
        WorkerLost: one was stopped.
    """
    task = asyncio.ensure_future(work)
    seen: set[int] = set()
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=STOPPED_LOOK_S)
            if done:
                return task.result()
            now = {p.pid for p in _processes() if p.group == leader and p.state == "T"}
            if now & seen:
                which = "the process itself" if leader in now else f"process {min(now & seen)} below it"
                raise WorkerLost(f"{which} was stopped (SIGSTOP); it was killed")
            seen = now
    finally:
        task.cancel()


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    state: str
    group: int


def _processes() -> Iterator[_Process]:
    """What runs on this machine; processes that end meanwhile are left out."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"/proc/{entry.name}/stat") as file,
            ):
                state, _, group = file.read().rpartition(")")[2].split()[:3]
                yield _Process(int(entry.name), state, int(group))


def _orphans(scratch: str) -> list[int]:
    """Processes of a measuring process by its scratch directory's name, which all of them inherited.

    Whose parent is dead is no descendant any more, and who is stopped does not notice that it should end.
    """
    mark = f"{SCRATCH_VARIABLE}={scratch}".encode()
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(entry.name))
    return found
