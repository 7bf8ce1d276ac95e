"""``kforge eval --track open``: published answers, the sandbox named or demanded, texts and exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kforge import Evaluation, evaluate
from kforge.cli.evaluate import document, print_around
from kforge.errors import UsageError
from kforge.eval.sanitize import WorkloadFinding
from kforge.types import ParseFailed
from tests.cli.terminal import COMMAND, Done, Terminal
from tests.cli.test_evaluate import KEYS

ON_CPU = ("--task", "./mine.py", "--track", "open", "--device", "cpu")
TWICE = """
import torch
from torch import nn


class ModelNew(nn.Module):
    def forward(self, x):
        return BODY
"""
RIGHT, WRONG = TWICE.replace("BODY", "x + x"), TWICE.replace("BODY", "x + x + 0.1")
# The text is put together in the constructor: only the running candidate says what it wants to be built.
WITH_EXTENSION = '''
import torch
from torch import nn
from torch.utils.cpp_extension import load_inline

TEXT = """
#include <torch/extension.h>
torch::Tensor twice(torch::Tensor x) { return x.NAME(2.0); }
"""


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        text = TEXT.replace("NAME", "".join(reversed("lum")))
        self.ops = load_inline(name="twice_ext", cpp_sources=text, functions=["twice"])

    def forward(self, x):
        return self.ops.twice(x)
'''
SLEEPS = "import time\ntime.sleep(50)\n" + RIGHT
SEALED = """
LANGUAGE = "sycl"
SOURCE = "void f();"


def plan(k, x):
    return k.empty_like(x)
"""
# Runs kforge where no new namespace can be had, as on many a shared machine.
WITHOUT_NAMESPACES = """
import os, platform, sys
from kforge.eval import confinement as c
assert c._install(c._refuse({"x86_64": 272, "aarch64": 97}[platform.machine()]))
os.execv(sys.argv[1], sys.argv[1:])
"""


def without_namespaces(kforge: Terminal, *arguments: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_NAMESPACES, *COMMAND, *arguments],
        cwd=kforge.cwd, env=dict(kforge.env), text=True, capture_output=True, timeout=200, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_published_answer_is_measured_with_what_it_asks_for_while_it_runs(kforge: Terminal) -> None:
    (kforge.cwd / "answer.py").write_text(WITH_EXTENSION)
    done = kforge("eval", "answer.py", *ON_CPU, "--json")
    found = done.document
    assert found["status"] in {"passed", "unstable"}, found  # the machine of a test may be busy
    assert done.code == (0 if found["status"] == "passed" else 1)
    assert found.keys() >= KEYS | {"sandbox", "extensions", "sanitizer"}
    assert (found["language"], found["track"]) == ("python", "open")
    assert [found[key] for key in ("measures", "facts", "uses_library_ops", "sanitizer")] == [None] * 4
    assert found["device"]
    (extension,) = found["extensions"]
    assert (extension["name"], extension["headers"], extension["cached"]) == ("twice_ext", "slim", False)
    assert extension["build_s"] > 0
    assert found["seconds"]["build"] > 0
    assert found["sandbox"]["no_new_privileges"] is True
    assert all(isinstance(there, bool) for there in found["sandbox"].values())
    if done.code == 0:
        assert found["speedup_interval"][0] <= found["speedup"] <= found["speedup_interval"][1]
        assert found["workloads"][0]["timed_outputs_checked"] >= 3


def test_a_wrong_answer_is_rejected_and_a_missing_layer_named(kforge: Terminal) -> None:
    (kforge.cwd / "answer.py").write_text(WRONG)
    done = without_namespaces(kforge, "eval", "answer.py", *ON_CPU)
    assert done.code == 1, done
    assert done.out.startswith("check failed (mismatch)")
    (line,) = [line for line in done.out.splitlines() if line.startswith("sandbox: ")]
    assert "without" in line
    assert "namespaces" in line
    assert "landlock" not in line


@pytest.mark.parametrize("track", ["open", "sealed"])
def test_a_sandbox_that_is_demanded_and_not_there(kforge: Terminal, track: str) -> None:
    (kforge.cwd / "answer.py").write_text(RIGHT if track == "open" else SEALED)
    options = (*ON_CPU, "--track", track, "--require-sandbox", "--json")
    done = without_namespaces(kforge, "eval", "answer.py", *options)
    assert (done.code, done.error["code"]) == (2, "missing"), done
    assert "namespace" in done.error["message"]
    assert "--require-sandbox" in done.error["message"]


def test_a_measuring_process_that_is_lost_is_nobodys_failure(kforge: Terminal) -> None:
    (kforge.cwd / "answer.py").write_text(SLEEPS)
    process = kforge.start("eval", "answer.py", *ON_CPU, "--json")
    deadline = time.monotonic() + 120
    while (measuring := measuring_process(process.pid)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert measuring is not None, "no candidate was started"
    os.kill(measuring, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out, err)
    assert (done.code, done.error["code"]) == (3, "infra"), done
    assert "killed by signal 9" in done.error["message"]


def measuring_process(driver: int) -> int | None:
    """The measuring process of a driver, once it has made a candidate's directory."""
    for pid in children(driver):
        with contextlib.suppress(OSError):
            if b"kforge.eval.worker" in Path(f"/proc/{pid}/cmdline").read_bytes() and any(
                "kforge-open-" in os.readlink(f"/proc/{below}/cwd") for below in everything_below(pid)
            ):
                return pid
    return None


def children(parent: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def everything_below(parent: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for pid in children(parent):
            yield pid
            yield from everything_below(pid)


# Text, track, words of the reason.
REJECTED = {
    "a ModelNew on the sealed track": (RIGHT, "sealed", "--track open"),
    "a ModelNew on the pure track": (RIGHT, "pure", "--track open"),
    "a sealed candidate on the open track": (SEALED, "open", "--track sealed"),
    "neither": ("x = 1\ny = 2\n", "open", "class ModelNew(nn.Module)"),
}
# Text, track, device, whether compute-sanitizer is asked for; words of the error.
MISUSED = {
    "an unknown track": (RIGHT, "ajar", "auto", False, "--track 'ajar'"),
    "compute-sanitizer on the open track": (RIGHT, "open", "auto", True, "--track open"),
    "compute-sanitizer for SYCL": (SEALED, "sealed", "auto", True, "written in sycl"),
    "an architecture": (RIGHT, "open", "sm_90a", False, "'sm_90a'"),
    "a SYCL device": (RIGHT, "open", "opencl:cpu:0", False, "'opencl:cpu:0'"),
}


@pytest.fixture
def at_home(kforge: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, in this process, where the command line would be."""
    monkeypatch.chdir(kforge.cwd)
    for name in ("KFORGE_HOME", "KFORGE_CACHE"):
        monkeypatch.setenv(name, kforge.env[name])


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", REJECTED)
def test_what_is_no_candidate_of_a_track_is_told_of_which_it_is(name: str) -> None:
    text, track, words = REJECTED[name]
    outcome = evaluate(text, task="./mine.py", track=track).outcome
    assert isinstance(outcome, ParseFailed)
    assert words in outcome.reason


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", MISUSED)
def test_options_that_do_not_fit(name: str) -> None:
    text, track, device, sanitize, words = MISUSED[name]
    with pytest.raises(UsageError) as raised:
        evaluate(text, task="./mine.py", track=track, device=device, sanitize=sanitize)
    assert words in raised.value.message
    assert raised.value.exit_code == 2


def test_a_model_new_without_the_option_is_no_error_but_a_result(kforge: Terminal) -> None:
    (kforge.cwd / "answer.py").write_text(RIGHT)
    done = kforge("eval", "answer.py", "--task", "./mine.py", "--json")
    assert done.code == 1
    assert done.document["status"] == "parse_failed"
    assert "kforge eval FILE --task ./mine.py --track open" in done.document["reason"]
    assert (done.document["language"], done.document["sandbox"]) == (None, None)


def test_a_search_writes_no_open_candidates(kforge: Terminal) -> None:
    done = kforge("evolve", "--task", "./mine.py", "--track", "open", "--json")
    assert (done.code, done.error["code"]) == (2, "usage")
    assert "kforge eval FILE" in done.error["next"]


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_card_that_is_not_there(kforge: Terminal) -> None:
    (kforge.cwd / "answer.py").write_text(RIGHT)
    options = ("--task", "./mine.py", "--track", "open", "--device", "gpu", "--json")
    done = kforge("eval", "answer.py", *options)
    assert (done.code, done.error["code"]) == (3, "no_device")
    assert "--device cpu" in done.error["next"]


def test_what_compute_sanitizer_said_is_in_the_json_and_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    race = WorkloadFinding("default", "racecheck", False, ("Race reported between ...",))
    clean = WorkloadFinding("default", "memcheck", True, ())
    found = Evaluation(ParseFailed("none"), None, None, None, sanitizer=(clean, race))
    made = document(found, task="t", size="small", track="sealed", text="")
    assert made["sanitizer"] == [
        {"workload": "default", "tool": "memcheck", "clean": True, "findings": []},
        {
            "workload": "default",
            "tool": "racecheck",
            "clean": False,
            "findings": ["Race reported between ..."],
        },
    ]
    print_around(found)
    said = capsys.readouterr().out
    assert "compute-sanitizer memcheck on workload default: clean" in said
    assert "racecheck on workload default: findings\n  Race reported" in said
