"""What a candidate may try so as not to stand still: who can run is seen, or nobody counts as standing."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from kforge.clock import SystemClock
from kforge.eval.open import tree as tree_module
from kforge.eval.open.tree import Tree
from kforge.eval.threads import below, processor_us

HEAD = """
import ctypes, os, signal, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def spin():
    while True:
        pass
# Its starter waits and adopts, as the one above a candidate does.
libc.prctl(36, 1, 0, 0, 0)
if os.fork():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.01)
"""
# Each says "ready" once what it tries is under way.
IDLE = "os.write(1, b'ready')\ntime.sleep(600)"
SPINNING = "threading.Thread(target=spin, daemon=True).start()\nos.write(1, b'ready')\ntime.sleep(600)"
ORPHANS = """
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.write(1, b'ready')
        spin()
    os._exit(0)
time.sleep(600)
"""
# The kernel shows a process whose first thread has ended as a dead one.
HEADLESS = """
if os.fork() == 0:
    threading.Thread(target=spin).start()
    os.write(1, b'ready')
    libc.syscall(60, 0)
time.sleep(600)
"""
# A timer continues whoever was stopped.
WOKEN = """
class Event(ctypes.Structure):
    _fields_ = [('value', ctypes.c_void_p), ('signo', ctypes.c_int), ('notify', ctypes.c_int),
                ('rest', ctypes.c_char * 48)]
event, timer = Event(None, signal.SIGCONT, 0), ctypes.c_void_p()
assert libc.syscall(222, 1, ctypes.byref(event), ctypes.byref(timer)) == 0
times = (ctypes.c_long * 4)(0, 20_000_000, 0, 20_000_000)
assert libc.syscall(223, timer, 0, times, None) == 0
signal.signal(signal.SIGCONT, lambda number, frame: None)
os.write(1, b'ready')
spin()
"""
# Nobody lives long enough to be stopped; each leaves an heir.
HOPPING = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    os.write(1, b'ready')
    while True:
        if os.fork():
            os._exit(0)
time.sleep(600)
"""


@pytest.fixture
def started() -> Iterator[Callable[[str], Tree]]:
    roots: list[subprocess.Popen[bytes]] = []

    def start(text: str) -> Tree:
        root = subprocess.Popen(
            [sys.executable, "-I", "-c", HEAD + text], stdout=subprocess.PIPE, start_new_session=True
        )
        roots.append(root)
        assert root.stdout is not None
        assert root.stdout.read(5) == b"ready"
        return Tree(root.pid)

    yield start
    for root in roots:
        Tree(root.pid).end()
        root.kill()
        root.communicate()
        assert below(root.pid) == ()


def _used_us(tree: Tree) -> float:
    return sum(processor_us(pid) for pid in below(tree.root))


@pytest.mark.parametrize(
    "text", [IDLE, SPINNING, ORPHANS, HEADLESS], ids=["idle", "thread", "orphan", "headless"]
)
def test_all_stand_still(started: Callable[[str], Tree], text: str) -> None:
    tree = started(text)
    assert tree.halt(SystemClock()) is not None
    assert below(tree.root), "the attack itself must work"
    before_us = _used_us(tree)
    time.sleep(0.2)
    assert _used_us(tree) == before_us
    assert tree.moved() is None
    tree.release()
    if text != IDLE:
        time.sleep(0.2)
        assert _used_us(tree) > before_us


def test_who_has_itself_woken_is_found_out(started: Callable[[str], Tree]) -> None:
    tree = started(WOKEN)
    assert tree.halt(SystemClock()) is not None
    deadline = time.monotonic() + 20.0
    while (found := tree.moved()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found is not None


def test_who_never_stays_is_never_taken_for_standing(
    started: Callable[[str], Tree], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "STOP_LIMIT_S", 1.0)
    tree = started(HOPPING)
    if tree.halt(SystemClock()) is None:
        return
    # One of the chain was stopped; then there must be no other.
    before_us = _used_us(tree)
    time.sleep(0.2)
    assert _used_us(tree) == before_us
    assert tree.moved() is None


def test_a_process_that_was_killed_is_no_mover(started: Callable[[str], Tree]) -> None:
    tree = started(IDLE)
    assert tree.halt(SystemClock()) is not None
    os.kill(below(tree.root)[0], 9)
    time.sleep(0.2)
    assert tree.moved() is None
