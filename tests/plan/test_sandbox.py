"""The process border: whatever a child does, the caller gets a value, and nothing survives."""

import asyncio
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kforge.eval.sandbox import (
    ChildResult,
    FileAccess,
    Limits,
    layers,
    run_limited,
    run_limited_sync,
    scrubbed_environment,
)

LIMITS = Limits(wall_s=20.0, memory_bytes=2**31)
PYTHON = [sys.executable, "-I", "-S", "-c"]


def run(code: str, limits: Limits = LIMITS, **options: Any) -> ChildResult:  # noqa: ANN401
    return run_limited_sync([*PYTHON, code], limits=limits, **options)


def test_streams_and_exit_code_come_back() -> None:
    ended = run(
        "import os, sys\nprint(sys.stdin.read().upper())\nprint('e', file=sys.stderr)\n"
        "os.write(int(os.environ['KFORGE_RESULT_FD']), b'answer')\nsys.exit(7)",
        stdin=b"hello" * 100_000,
    )
    assert (ended.exit_code, ended.signal, ended.timed_out) == (7, None, False)
    assert ended.stdout.endswith(b"HELLO\n")
    assert len(ended.stdout) == 64 * 1024
    assert (ended.stderr, ended.result, ended.result_cut) == (b"e\n", b"answer", False)


def test_a_signal_is_reported_as_one() -> None:
    ended = run("import ctypes; ctypes.string_at(0)")
    assert (ended.exit_code, ended.signal) == (None, 11)


def test_floods_are_drained_and_cut() -> None:
    code = (
        "import os\nfd = int(os.environ['KFORGE_RESULT_FD'])\n"
        "for i in range(300):\n    os.write(1, b'a' * 100000); os.write(2, b'b' * 100000)\n"
        "    rest = b'c' * 100000\n    while rest: rest = rest[os.write(fd, rest):]\n"
    )
    ended = run(code, result_bytes=1000)
    assert ended.exit_code == 0
    assert (ended.result, ended.result_cut) == (b"c" * 1000, True)
    assert ended.stdout == b"a" * 65536
    assert ended.stderr == b"b" * 65536


def test_a_child_that_ignores_its_input_blocks_nobody() -> None:
    assert run("pass", stdin=b"x" * 10_000_000).exit_code == 0


def test_limits_hold(tmp_path: Path) -> None:
    assert b"MemoryError" in run("x = bytearray(2**33)").stderr
    assert run("while True: pass", replace(LIMITS, cpu_s=1)).signal in (9, 24)
    code = f"f = open({str(tmp_path / 'big')!r}, 'wb', 0); f.write(b'x' * 1000); f.write(b'x')"
    assert b"File too large" in run(code, replace(LIMITS, file_bytes=1000)).stderr
    assert (
        run("import os; print(os.nice(0))", replace(LIMITS, nice=5)).stdout.strip()
        == str(os.nice(0) + 5).encode()
    )


def _alive(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in entry.read_bytes():
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("own_processes", [True, False])
def test_a_bounded_fork_bomb_dies_with_its_group(own_processes: bool) -> None:
    marker = f"bomb-{os.getpid()}-{own_processes}"
    code = f"import os, time\n'{marker}'\nfor i in range(6): os.fork()\ntime.sleep(60)"
    ended = run(code, Limits(wall_s=1.0), own_processes=own_processes)
    assert ended.timed_out
    deadline = time.monotonic() + 5
    while _alive(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _alive(marker) == []


@pytest.mark.skipif(not layers()["process_namespace"], reason="no process namespaces here")
def test_a_process_that_leaves_the_group_dies_with_the_namespace() -> None:
    marker = f"escape-{os.getpid()}"
    code = f"import os, time\n'{marker}'\nif os.fork() == 0:\n    os.setsid(); time.sleep(60)\nprint('left')"
    ended = run(code)
    assert ended.exit_code == 0
    deadline = time.monotonic() + 5
    while _alive(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _alive(marker) == []


def test_children_die_with_the_driver() -> None:
    marker = f"orphan-{os.getpid()}"
    driver = (
        "import sys\nfrom kforge.eval.sandbox import *\n"
        f"run_limited_sync([sys.executable, '-I', '-S', '-c', '\"{marker}\"; import time; time.sleep(60)'],"
        "limits=Limits(wall_s=60))"
    )

    async def kill_driver() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", driver, env=dict(os.environ))
        deadline = time.monotonic() + 10
        while len(_alive(marker)) < 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert len(_alive(marker)) >= 2
        process.kill()
        await process.wait()

    asyncio.run(kill_driver())
    deadline = time.monotonic() + 5
    while _alive(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _alive(marker) == []


def test_cancelling_kills_the_child() -> None:
    marker = f"cancel-{os.getpid()}"

    async def cancelled() -> None:
        code = f"'{marker}'\nimport time; time.sleep(60)"
        task = asyncio.create_task(run_limited([*PYTHON, code], limits=LIMITS))
        while not _alive(marker):
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert _alive(marker) == []


def test_the_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    assert "SOME_API_KEY" not in scrubbed_environment()
    assert b"secret" not in run("import os; print(dict(os.environ))").stdout


@pytest.mark.skipif(not layers()["landlock"], reason="no Landlock here")
def test_files_outside_the_list_are_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("s")
    files = FileAccess(
        ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", sys.base_prefix, sys.prefix), (str(tmp_path / "open"),)
    )
    code = (
        f"open({str(tmp_path / 'open' / 'a')!r}, 'w').write('x')\n"
        f"for path, mode in (({str(secret)!r}, 'r'), ({str(tmp_path / 'b')!r}, 'w'), ('/etc/passwd', 'r')):\n"
        "    try:\n        open(path, mode)\n    except PermissionError:\n        print('closed')\n"
    )
    ended = run(code, files=files)
    assert ended.stdout == b"closed\n" * 3, ended
    assert (tmp_path / "open" / "a").read_text() == "x"


@pytest.mark.skipif(not layers()["network_namespace"], reason="no network namespaces here")
def test_there_is_no_network() -> None:
    code = "import os; print(sorted(os.listdir('/sys/class/net')), open('/proc/net/dev').read().count(':'))"
    ended = run(code)
    assert b" 1\n" in ended.stdout, ended


def test_a_program_that_does_not_exist_is_a_result() -> None:
    ended = run_limited_sync(["/no/such/program"], limits=LIMITS)
    assert ended.exit_code == 125
    assert b"/no/such/program" in ended.stderr


def test_a_process_can_confine_itself() -> None:
    root = str(Path(__file__).resolve().parents[2])
    code = (
        f"import sys, os; sys.path.insert(0, {root!r})\n"
        "from kforge.eval.sandbox import confine, FileAccess, Limits\n"
        "spare = os.open('/dev/null', os.O_RDONLY)\n"
        "print(confine(limits=Limits(1, cpu_s=50), files=FileAccess(('/dev',)), "
        "keep_descriptors=(), spawning=False))\n"
        "for f in (lambda: open('/etc/passwd'), os.fork, lambda: os.fstat(spare)):\n"
        "    try:\n        f(); print('open')\n    except OSError as error: print(error.errno)\n"
    )
    ended = run_limited_sync([sys.executable, "-c", code], limits=Limits(wall_s=30))
    lines = ended.stdout.decode().splitlines()
    working = layers()
    assert f"'landlock': {working['landlock']}" in lines[0]
    if working["landlock"] and working["seccomp"]:
        assert lines[1:] == ["13", "1", "9"], ended
