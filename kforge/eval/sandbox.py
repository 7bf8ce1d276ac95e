"""The process border for untrusted steps: one disposable process group, bounded in everything.

``run_limited`` starts a program under ``Limits`` through the launcher, feeds it, drains what it writes
(without keeping more than a bounded part) and kills its whole group at the deadline. ``confine`` puts the
same layers on the calling process, for a runner that was forked warm.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kforge
from kforge.errors import InfraError
from kforge.eval import confinement

PACKAGE_ROOT = str(Path(kforge.__file__).resolve().parent.parent)
_LAUNCHER = str(Path(__file__).resolve().with_name("launcher.py"))
TAIL_BYTES = 64 * 1024
RESULT_BYTES = 8 * 1024 * 1024
# After the kill only a process that left the group can still hold a pipe; it is not waited for longer.
DRAIN_S = 1.0
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
RESULT_FD_VARIABLE = "KFORGE_RESULT_FD"
RESULT_FD_PLACEHOLDER = "{result_fd}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one untrusted process may use.

    Attributes:
        wall_s: deadline; the process group is killed then.
        cpu_s: processor seconds per process.
        memory_bytes: address space per process.
        file_bytes: size of any file it writes.
        processes: processes of its user; does not bind root, where the group kill does the work.
        nice: added to the scheduling priority.
    """

    wall_s: float
    cpu_s: float | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    processes: int | None = None
    nice: int = 0


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Landlock allow-list: paths to read or execute, and paths to change. All else is refused."""

    read: tuple[str, ...]
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child ended and what it left, each stream cut to its limit.

    Attributes:
        exit_code: 0..255, or None when a signal ended it.
        signal: number of that signal, or None.
        result: bytes from the result descriptor, from the start; ``result_cut`` when there were more.
        stdout: the last bytes of standard output.
        stderr: the last bytes of standard error.
        timed_out: the deadline passed and the group was killed.
        wall_s: seconds from start to end.
    """

    exit_code: int | None
    signal: int | None
    result: bytes
    result_cut: bool
    stdout: bytes
    stderr: bytes
    timed_out: bool
    wall_s: float


def scrubbed_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The few variables a child may see (no keys, no tokens), plus ``extra``."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | dict(extra or {})


async def run_limited(
    argv: Sequence[str],
    *,
    limits: Limits,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    files: FileAccess | None = None,
    network_off: bool = True,
    own_processes: bool = True,
    result_bytes: int = RESULT_BYTES,
    python: str = sys.executable,
) -> ChildResult:
    """Run ``argv`` under ``limits`` and return how it ended; whatever it does, this returns.

    The child finds the number of its result descriptor in the environment variable ``KFORGE_RESULT_FD``,
    and in place of an argument ``{result_fd}``. Cancelling the call kills the group.

    Args:
        argv: program and arguments; no shell.
        limits: bounds of the process.
        stdin: bytes it reads.
        env: the whole environment; default: the scrubbed one.
        cwd: default: the root directory.
        files: Landlock allow-list, where the kernel has Landlock; None leaves files open.
        network_off: give it an empty network namespace where that is permitted.
        own_processes: give it its own process namespace where that is permitted.
        result_bytes: how much of the result is kept.
        python: interpreter for the launcher.

    Raises:
        InfraError: the process could not be started at all.
    """
    result_read, result_write = os.pipe()
    policy = _policy(limits, files, network_off=network_off, own_processes=own_processes)
    command = [python, "-I", "-S", "-B", _LAUNCHER, PACKAGE_ROOT, policy, "--"]
    command += [str(result_write) if word == RESULT_FD_PLACEHOLDER else word for word in argv]
    started = asyncio.get_running_loop().time()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**(scrubbed_environment() if env is None else env), RESULT_FD_VARIABLE: str(result_write)},
            cwd=cwd or "/",
            pass_fds=(result_write,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(result_read)
        raise InfraError(f"cannot start {python}: {error}", "run `kforge doctor`") from error
    finally:
        os.close(result_write)
    return await _supervise(
        process, result_read, stdin=stdin, wall_s=limits.wall_s, result_bytes=result_bytes, started=started
    )


def _policy(limits: Limits, files: FileAccess | None, *, network_off: bool, own_processes: bool) -> str:
    """What the launcher shall do to itself, as JSON."""
    policy = {
        "parent": os.getpid(),
        "network_off": network_off,
        "own_processes": own_processes,
        "limits": {
            "cpu_s": limits.cpu_s, "memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes,
            "processes": limits.processes, "nice": limits.nice,
        },
        "files": None if files is None else {"read": files.read, "write": files.write},
    }  # fmt: skip
    return json.dumps(policy)


async def _supervise(
    process: asyncio.subprocess.Process,
    result_read: int,
    *,
    stdin: bytes,
    wall_s: float,
    result_bytes: int,
    started: float,
) -> ChildResult:
    loop = asyncio.get_running_loop()
    assert process.stdout is not None
    assert process.stderr is not None
    result_stream, result_pipe = await _reader(result_read)
    result, stdout, stderr = _Head(result_bytes), _Tail(TAIL_BYTES), _Tail(TAIL_BYTES)
    pumps = [
        asyncio.create_task(_pump(stream, sink))
        for stream, sink in ((result_stream, result), (process.stdout, stdout), (process.stderr, stderr))
    ]
    feeder = asyncio.create_task(_feed(process, stdin))
    timed_out = False
    try:
        try:
            await asyncio.wait_for(process.wait(), wall_s)
        except TimeoutError:
            timed_out = True
        ended = loop.time()
        _kill_group(process.pid)
        await process.wait()
        await asyncio.wait(pumps, timeout=DRAIN_S)
    finally:
        _kill_group(process.pid)
        for task in (feeder, *pumps):
            task.cancel()
        await asyncio.gather(feeder, *pumps, return_exceptions=True)
        result_pipe.close()
        await process.wait()
        # Pipes that an escaped descendant still holds would keep the transport open.
        process._transport.close()  # type: ignore[attr-defined]
    code = process.returncode
    assert code is not None
    return ChildResult(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        result=bytes(result.kept),
        result_cut=result.cut,
        stdout=bytes(stdout.kept),
        stderr=bytes(stderr.kept),
        timed_out=timed_out,
        wall_s=ended - started,
    )


def run_limited_sync(argv: Sequence[str], **options: Any) -> ChildResult:  # noqa: ANN401
    """``run_limited`` for callers without an event loop; same arguments."""
    return asyncio.run(run_limited(argv, **options))


class _Head:
    """Keeps the first bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self.kept, self.limit, self.cut = bytearray(), limit, False

    def take(self, chunk: bytes) -> None:
        room = self.limit - len(self.kept)
        self.kept += chunk[:room]
        self.cut = self.cut or len(chunk) > room


class _Tail:
    """Keeps the last bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self.kept, self.limit = bytearray(), limit

    def take(self, chunk: bytes) -> None:
        self.kept += chunk
        del self.kept[: -self.limit]


async def _pump(stream: asyncio.StreamReader, sink: _Head | _Tail) -> None:
    while chunk := await stream.read(64 * 1024):
        sink.take(chunk)


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    # A child that ends or closes its input early is no error here: its exit code tells.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    stream = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", 0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), file
    )
    return stream, transport


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def confine(
    *,
    limits: Limits | None = None,
    files: FileAccess | None = None,
    keep_descriptors: Sequence[int] | None = None,
    spawning: bool = True,
) -> dict[str, bool]:
    """Put the layers on the calling process, for good; children inherit them.

    Args:
        limits: resource limits (``wall_s`` is the supervisor's business and ignored here).
        files: Landlock allow-list.
        keep_descriptors: close all descriptors but 0, 1, 2 and these; None closes nothing.
        spawning: False forbids new processes, threads, sockets and signals by seccomp.

    Returns:
        Which layers the kernel took, by the names of ``layers``.
    """
    taken = {"no_new_privileges": confinement.no_new_privileges()}
    if keep_descriptors is not None:
        confinement.close_descriptors(keep_descriptors)
    if limits is not None:
        confinement.set_limits(
            cpu_s=limits.cpu_s, memory_bytes=limits.memory_bytes, file_bytes=limits.file_bytes,
            processes=limits.processes, nice=limits.nice,
        )  # fmt: skip
        taken["limits"] = True
    if files is not None:
        taken["landlock"] = confinement.restrict_files(files.read, files.write)
    if not spawning:
        taken["seccomp"] = confinement.forbid_spawning()
    return taken


_PROBE = """
import sys; sys.path.insert(0, sys.argv[1])
from kforge.eval import confinement as c
print(eval(sys.argv[2], {"c": c}))
"""
_PROBES = {
    "no_new_privileges": "c.no_new_privileges()",
    "landlock": "c.restrict_files(read=('/',), write=())",
    "seccomp": "c.forbid_spawning()",
    "no_capabilities": "c.drop_capabilities()",
    "network_namespace": "c.leave_namespaces(network=True, processes=False)",
    "process_namespace": "c.leave_namespaces(network=False, processes=True)",
}


def layers(python: str = sys.executable) -> dict[str, bool]:
    """Which layers work on this machine, each tried in a process of its own."""
    found = {"limits": True, "process_group_kill": True}
    for name, expression in _PROBES.items():
        probe = subprocess.run(
            [python, "-I", "-S", "-B", "-c", _PROBE, PACKAGE_ROOT, expression],
            capture_output=True, check=False, timeout=30, env=scrubbed_environment(),
        )  # fmt: skip
        found[name] = probe.stdout.strip() == b"True"
    return found
