"""``kforge evolve`` for real: its end, Ctrl-C, kill -9 and going on, two drivers of one run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from typing import Any

import pytest

from tests.cli.terminal import Terminal

pytestmark = pytest.mark.sycl

SEARCH = ("evolve", "--task", "kb/L1/88", "--size", "small")


def stored(kforge: Terminal, run: str) -> list[dict[str, Any]]:
    """The evaluations of a run as rows; none while the run does not exist."""
    done = kforge("runs", "show", run, "--json")
    return list(done.document) if done.code == 0 else []


def wait_for_evaluations(kforge: Terminal, run: str, wanted: int, process: subprocess.Popen[str]) -> None:
    """Poll the store until so many candidates are told; the test's own limit bounds it."""
    while len(stored(kforge, run)) < wanted:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)


def assert_each_told_once(rows: list[dict[str, Any]]) -> None:
    assert max(Counter(row["candidate"] for row in rows).values()) == 1
    assert [row["seq"] for row in rows] == list(range(len(rows)))


def test_a_short_search(kforge: Terminal) -> None:
    done = kforge(*SEARCH, "--evals", "2", "--run", "short", "--strategy", "greedy", "--json")
    assert done.code == 0, done.err
    summary = done.document
    assert summary["strategy"] == "greedy"
    assert (summary["run"], summary["state"], summary["offline"]) == ("short", "finished", True)
    assert summary["evaluations"] == 2
    assert "offline proposer: rule-based" in done.err
    assert "[2/2] candidate" in done.err
    rows = stored(kforge, "short")
    assert_each_told_once(rows)
    report = kforge("report", "short", "--json").document
    assert (report["state"], report["evaluations"]) == ("finished", 2)
    text = kforge("report", "short").out
    assert "run short: kb/L1/88 (small), finished" in text
    assert "offline proposer: rule-based" in text
    assert kforge("runs", "show", "short").out.startswith("strategy: greedy\n")
    # What shaped the search cannot be changed under its name.
    other = kforge(*SEARCH, "--run", "short", "--seed", "5", "--json")
    assert (other.code, other.error["code"]) == (2, "usage")
    assert "seed" in other.error["message"]
    other = kforge(*SEARCH, "--run", "short", "--strategy", "beam", "--json")
    assert (other.code, other.error["code"]) == (2, "usage")
    assert "strategy" in other.error["message"]
    assert kforge(*SEARCH, "--evals", "2", "--run", "short", "--json").code == 0, "nobody asked for another"


def test_a_task_that_the_proposer_cannot_write_for_leaves_no_run(kforge: Terminal) -> None:
    done = kforge("evolve", "--task", "./mine.py", "--run", "r", "--json")
    assert (done.code, done.error["code"]) == (2, "usage")
    assert "offline" in done.error["message"]
    assert kforge("runs", "list", "--json").document == []


@pytest.mark.slow
def test_kill_9_and_the_same_command_again(kforge: Terminal) -> None:
    command = (*SEARCH, "--evals", "6", "--run", "r1", "--json")
    driver = kforge.start(*command)
    wait_for_evaluations(kforge, "r1", 2, driver)
    second = kforge(*command)
    assert second.code == 2
    assert str(driver.pid) in second.error["message"] + second.error["next"]
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    before = stored(kforge, "r1")
    report = kforge("report", "r1")
    assert report.code == 0
    assert "go on: kforge evolve --resume r1" in report.out
    again = kforge(*command)
    assert again.code == 0, again.err
    assert again.document["state"] == "finished"
    after = stored(kforge, "r1")
    assert after[: len(before)] == before
    assert_each_told_once(after)
    finished = kforge(*command)
    assert (finished.code, finished.document["state"]) == (0, "finished")
    assert stored(kforge, "r1") == after


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_one_signal_drains(kforge: Terminal, number: signal.Signals) -> None:
    driver = kforge.start(*SEARCH, "--evals", "40", "--run", "r", "--json")
    wait_for_evaluations(kforge, "r", 1, driver)
    os.kill(driver.pid, number)
    out, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    assert '"state": "interrupted"' in out
    assert "stopping:" in err
    assert "Traceback" not in err
    rows = stored(kforge, "r")
    assert_each_told_once(rows)
    proposals = kforge("report", "r", "--json").document["proposals"]
    assert len(rows) == proposals  # whatever was under way is told


@pytest.mark.slow
def test_two_signals_stop_at_once_and_resume_goes_on(kforge: Terminal) -> None:
    driver = kforge.start(*SEARCH, "--evals", "8", "--run", "r", "--json")
    wait_for_evaluations(kforge, "r", 1, driver)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.3)
    os.kill(driver.pid, signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    assert '"state": "interrupted"' in out
    assert "go on with: kforge evolve --resume r" in err
    assert "Traceback" not in err
    before = stored(kforge, "r")
    resumed = kforge("evolve", "--resume", "r", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.document["state"] == "finished"
    after = stored(kforge, "r")
    assert after[: len(before)] == before
    assert_each_told_once(after)
