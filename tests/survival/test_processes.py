"""Any process of an evaluation is killed or stopped: a typed outcome, and the next verdict is right."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

import pytest

from kforge.eval.scratch import Scratch
from kforge.types import CheckFailed, InfraFailed, Outcome, Passed, TimedOut, Unstable
from kforge.workers.measuring import _orphans
from tests.survival.scene import Scene, When, Who

pytestmark = pytest.mark.sycl
KILL, STOP = signal.SIGKILL, signal.SIGSTOP
Case = tuple[Who, signal.Signals, When]
EVERY: list[Case] = list(itertools.product(get_args(Who), (KILL, STOP), get_args(When)))
# A runner lives for one candidate, and the baseline moves in the benchmark only.
EVERY = [c for c in EVERY if c[::2] not in (("runner", "idle"), ("baseline", "check"))]
QUICK: list[Case] = [
    ("verifier", STOP, "check"),
    ("baseline", KILL, "idle"),
    ("tracker", KILL, "idle"),
]
WENT_WELL = (Passed, Unstable)  # on a busy machine a tiny kernel's time may say nothing


def expected(who: Who, number: signal.Signals, when: When) -> tuple[type[Outcome], ...]:
    """What a hit may end in: ours is InfraFailed, the candidate's own process is its own failure."""
    match who:
        case "runner":
            # The verifier stops and continues runners itself, so a stop may pass unnoticed.
            return (CheckFailed,) if number == KILL else (TimedOut, *WENT_WELL)
        case "baseline" if number == STOP:
            return (InfraFailed, *WENT_WELL)
        case "baseline" if when == "idle":
            return WENT_WELL
        case "fork server" | "verifier" if number == KILL and when != "check":
            return (InfraFailed, *WENT_WELL)  # where it is seen to be gone in time, it is started again
        case "tracker":
            return (InfraFailed, *WENT_WELL)
        case _:
            return (InfraFailed,)


@pytest.mark.parametrize(
    ("who", "number", "when"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in EVERY],
)
def test_a_hit_ends_typed_and_the_next_verdict_is_right(
    scene: Scene, who: Who, number: signal.Signals, when: When
) -> None:
    if not isinstance(scene.outcome(), WENT_WELL):
        pytest.fail("the scene itself does not work")
    outcome = scene.hit_while_measuring(who, number, when)
    assert isinstance(outcome, expected(who, number, when)), outcome
    if isinstance(outcome, InfraFailed):
        assert outcome.reason
    after = scene.outcome()
    assert isinstance(after, WENT_WELL), after


def test_nothing_is_left_of_a_pool(tmp_path: Path, cache: Path) -> None:
    scene = Scene(tmp_path, cache)
    try:
        assert isinstance(scene.outcome(), WENT_WELL)
        scratch = scene.pool._worker._scratch
        assert scratch is not None
        assert len(scene.marked()) >= 3, "verifier, fork server, baseline"
        assert scene._hit("baseline", STOP)
        assert scene._hit("verifier", KILL)
    finally:
        scene.close()
    assert _orphans(scratch.path) == []
    assert not Path(scratch.path).exists()
    assert scratch.path.startswith(tempfile.gettempdir())


@pytest.mark.slow
def test_nothing_outlives_a_killed_driver(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.survival.driver", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout is not None
        scratch = driver.stdout.readline().strip()
        assert len(_orphans(scratch)) >= 3, "verifier, fork server, baseline"
        driver.send_signal(KILL)
    deadline = time.monotonic() + 30.0
    while _orphans(scratch) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _orphans(scratch) == []
    os.utime(scratch, (0, 0))  # not young any more
    Scratch("kforge-measure-").remove()
    assert not Path(scratch).exists()
