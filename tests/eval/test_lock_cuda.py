"""The device's lock between processes: benchmarks alone, everything else together."""

from __future__ import annotations

import subprocess
import sys
import uuid
from dataclasses import replace

import pytest

from kforge.eval.device_lock import DeviceLock, lock_path
from tests.eval.cuda_code import H100

_OTHER = "import sys\nfrom kforge.eval.device_lock import DeviceLock\nwith DeviceLock(sys.argv[1]) as lock:\n"


@pytest.fixture
def path() -> str:
    found = lock_path(replace(H100, uuid=str(uuid.uuid4())))
    assert found is not None
    return found


def other(path: str, how: str) -> subprocess.Popen[str]:
    code = _OTHER + f"    lock.{how}()\n    print('held', flush=True)\n"
    return subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)


def waits(process: subprocess.Popen[str]) -> bool:
    try:
        process.communicate(timeout=2.0)
    except subprocess.TimeoutExpired:
        return True
    return False


@pytest.mark.parametrize(("mine", "theirs"), [("claim", "claim"), ("claim", "share"), ("share", "claim")])
def test_a_benchmark_is_alone(path: str, mine: str, theirs: str) -> None:
    with DeviceLock(path) as lock:
        getattr(lock, mine)()
        process = other(path, theirs)
        assert waits(process)
        lock.release()
        out, _ = process.communicate(timeout=30)
    assert out == "held\n"
    assert process.returncode == 0


def test_checks_go_on_beside_each_other(path: str) -> None:
    with DeviceLock(path) as lock:
        lock.share()
        out, _ = other(path, "share").communicate(timeout=30)
    assert out == "held\n"


def test_a_dead_process_holds_nothing(path: str) -> None:
    code = _OTHER + "    lock.claim()\n    print('held', flush=True)\n    sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    with DeviceLock(path) as lock:
        lock.claim()


def test_a_device_without_a_uuid_is_nobodys() -> None:
    assert lock_path(H100) is None
    with DeviceLock(None) as lock:
        lock.claim()
