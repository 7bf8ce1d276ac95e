"""The driver's end of a measuring process: start, ask, restart when it hangs or dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from kforge.errors import InfraError, KforgeError
from kforge.eval.sandbox import PACKAGE_ROOT
from kforge.workers.hardware import device_environment

LINE_LIMIT_BYTES = 64 << 20


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
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "kforge.eval.worker",
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
            WorkerLost: it died, or gave no answer within ``limit_s``; it is killed then.
        """
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise WorkerLost("the measuring process was not started")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
            async with asyncio.timeout(limit_s):
                while True:
                    line = await process.stdout.readline()
                    if not line:
                        raise WorkerLost(await self._how_it_ended())
                    answer = json.loads(line)
                    if "stage" in answer:
                        if on_stage is not None:
                            await on_stage(answer["stage"])
                        process.stdin.write(b'{"do": "continue"}\n')
                    elif "error" in answer:
                        raise RemoteError(answer["error"])
                    else:
                        return answer["result"]
        except TimeoutError as error:
            await self.kill()
            raise WorkerLost(f"no answer within {limit_s:g} s; it was killed") from error
        except (BrokenPipeError, ConnectionResetError, json.JSONDecodeError) as error:
            await self.kill()
            raise WorkerLost(f"the connection broke: {error}") from error
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def _how_it_ended(self) -> str:
        assert self._process is not None
        code = await self._process.wait()
        return f"killed by signal {-code}" if code < 0 else f"ended with code {code}"

    async def kill(self) -> None:
        """End the process and everything it started; safe to call at any time."""
        process, self._process = self._process, None
        if process is None:
            return
        for pid in _descendants(process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        transport = process._transport  # type: ignore[attr-defined]
        transport.close()


def _descendants(root: int) -> list[int]:
    """Process ids below ``root``, deepest last: runners lead sessions of their own."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"/proc/{entry.name}/stat") as file,
            ):
                parent = int(file.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    stack = [root]
    while stack:
        below = children.get(stack.pop(), [])
        found += below
        stack += below
    return found
