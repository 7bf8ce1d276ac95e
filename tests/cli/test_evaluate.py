"""``kforge eval`` on real devices: candidates that are none, a wrong one, and the README's own."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from kforge.eval.protocol import RECORD_PROTOCOL
from tests.cli.terminal import ROOT, Terminal

pytestmark = pytest.mark.sycl

KEYS = {
    "status", "task", "size", "language", "track", "device", "candidate", "precision", "speedup",
    "latency_us", "baseline_us", "baseline", "noise", "verdict", "kb_correct", "max_error", "measures",
    "uses_library_ops", "seconds", "reason",
}  # fmt: skip


def readme_candidate() -> str:
    found = re.search(r"```python\n(LANGUAGE = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def odd_file(kind: str, directory: Path) -> str:
    path = directory / "odd.py"
    if kind == "endless":
        return "/dev/zero"
    if kind == "50 MB":
        path.write_bytes(b"a = 1\n" * (50_000_000 // 6))
    else:
        path.write_bytes(
            {"empty": b"", "binary": bytes(range(256)) * 9, "prose": b"I cannot help with that."}[kind]
        )
    return str(path)


@pytest.mark.parametrize("kind", ["empty", "binary", "prose", "50 MB", "endless"])
def test_a_file_that_is_no_candidate_is_rejected(kforge: Terminal, kind: str) -> None:
    done = kforge("eval", odd_file(kind, kforge.cwd), "--task", "kb/L1/19", "--size", "small", "--json")
    assert done.code == 1, done.err
    assert done.document["status"] == "parse_failed"
    assert done.document["reason"]
    assert done.document.keys() >= KEYS
    assert done.document["speedup"] is None


def test_the_candidate_of_the_readme_is_correct(kforge: Terminal) -> None:
    (kforge.cwd / "relu.py").write_text(readme_candidate())
    done = kforge("eval", "relu.py", "--task", "kb/L1/19", "--size", "small", "--record", "--json")
    result = done.document
    assert result.keys() >= KEYS
    assert result["quality"] == "record"
    assert result["status"] in {"passed", "unstable"}, result  # the machine of a test may be busy
    assert done.code == (0 if result["status"] == "passed" else 1)
    if result["status"] == "passed":
        assert result["speedup"] > 0
        assert result["speedup_interval"][0] <= result["speedup"] <= result["speedup_interval"][1]
        assert result["baseline"] == {"name": "eager", "precision": "ieee"}
        assert result["workloads"][0]["candidate"]["n"] >= RECORD_PROTOCOL.min_samples
    assert result["uses_library_ops"] == []
    assert sorted(result["measures"]) == ["compute", "memory", "parallelism"]


def test_a_wrong_candidate_is_rejected_in_words(kforge: Terminal) -> None:
    wrong = readme_candidate().replace("fmax(x[i], 0.0f)", "fmax(x[i], 0.01f)")
    assert wrong != readme_candidate()
    (kforge.cwd / "wrong.py").write_text(wrong)
    done = kforge("eval", "wrong.py", "--task", "kb/L1/19", "--size", "small")
    assert done.code == 1
    assert done.out.startswith("check failed (mismatch)")


def test_a_gpu_that_is_not_there(kforge: Terminal) -> None:
    devices = next(row for row in kforge("doctor", "--json").document if row["check"] == "sycl devices")
    if "gpu" in devices["found"]:
        pytest.skip("this machine has a GPU")
    done = kforge("evolve", "--task", "kb/L1/88", "--device", "gpu", "--json")
    assert (done.code, done.error["code"]) == (3, "no_device")
    assert "cpu" in done.error["message"]


@pytest.mark.parametrize("command", [["tasks", "show"], ["evolve", "--task"]], ids=" ".join)
def test_ctrl_c_while_a_task_loads_for_ever(kforge: Terminal, command: list[str]) -> None:
    (kforge.cwd / "endless.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('loading').touch()\nwhile True: pass\n"
        + (kforge.cwd / "mine.py").read_text()
    )
    process = kforge.start(*command, "./endless.py", "--json")
    loading = kforge.cwd / "loading"
    for _ in range(1200):
        if loading.exists():
            break
        time.sleep(0.05)
    assert loading.exists()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert '"interrupted"' in out
    assert "Traceback" not in err
    if command[0] == "evolve":
        assert kforge("runs", "list", "--json").document == []


def test_a_pipe_is_refused_and_not_waited_for(kforge: Terminal) -> None:
    os.mkfifo(kforge.cwd / "pipe.py")
    done = kforge("eval", "pipe.py", "--task", "kb/L1/19", "--size", "small", "--json")
    assert done.code == 2, done.err
    assert "pipe" in done.document["error"]["message"]
