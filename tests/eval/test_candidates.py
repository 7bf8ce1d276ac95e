"""Hand-written candidates, right and wrong, through the pool and the command: files in ``candidates/``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kforge.eval.candidate import parse_candidate
from kforge.search.pool import EvaluationRequest
from kforge.types import Built, CandidateSource, CheckFailed, DeviceInfo, Outcome, ScreenedOut, TimedOut
from kforge.workers.local import LocalPool, evaluate_once

HERE = Path(__file__).parent
TASK = str(HERE / "rows_task.py")
CORRECT = {"passed", "unstable"}  # a busy machine may make a correct candidate's time unknowable
# name: (status, kind of the check failure, rule of the screen, or stage of the timeout)
WRONG = {
    "wrong_values": ("check_failed", "mismatch"),
    "missing_eps": ("check_failed", "mismatch"),
    "own_distribution_only": ("check_failed", "mismatch"),
    "out_of_bounds": ("check_failed", "guard"),
    "writes_input": ("check_failed", "input_changed"),
    "unwritten_tail": ("check_failed", "non_finite|mismatch"),
    "segfault": ("check_failed", "crash"),
    "wrong_kernel_name": ("screened_out", "kernel_name"),
    "int_to_float": ("screened_out", "arguments"),
    "grid_of_zero": ("screened_out", "grid"),
    "does_not_compile": ("build_failed", ""),
    "remembers_in_a_global": ("screened_out", "device_code"),
    "remembers_in_a_device_global": ("screened_out", "device_code"),
    "endless": ("timed_out", "check"),
}
RUN_ONLY = {"wrong_values", "grid_of_zero", "does_not_compile"}
KEYS = [
    "status",
    "task",
    "size",
    "language",
    "track",
    "device",
    "candidate",
    "precision",
    "speedup",
    "latency_us",
    "baseline_us",
    "baseline",
    "noise",
    "verdict",
    "kb_correct",
    "max_error",
    "measures",
    "seconds",
    "reason",
    "uses_library_ops",
]


def source(name: str) -> CandidateSource:
    parsed = parse_candidate((HERE / "candidates" / f"{name}.py").read_text())
    assert isinstance(parsed, CandidateSource), parsed
    return parsed


def detail(outcome: Outcome) -> str:
    match outcome:
        case CheckFailed():
            return outcome.kind
        case ScreenedOut():
            return outcome.rule
        case TimedOut():
            return outcome.stage
        case _:
            return ""


async def evaluate(pool: LocalPool, name: str) -> Outcome:
    request = EvaluationRequest(name, source(name), {}, "sealed")
    report = await pool.build(request)
    if not isinstance(report.result, Built):
        return report.result
    return (await pool.measure(request, report.result)).outcome


@asynccontextmanager
async def opened(device: DeviceInfo, cache: Path) -> AsyncIterator[LocalPool]:
    pool = await LocalPool.open(TASK, "full", device, cache, None)
    try:
        yield pool
    finally:
        await pool.close()


def test_every_file_is_expected() -> None:
    assert {p.stem for p in (HERE / "candidates").glob("*.py")} == {*WRONG, "correct"}


@pytest.mark.sycl
def test_wrong_candidates_fail_as_they_should_and_the_pool_goes_on(device: DeviceInfo, cache: Path) -> None:
    """One pool for all; after each of those that ran, the correct candidate still passes."""

    async def run() -> list[str]:
        wrong: list[str] = []
        async with opened(device, cache) as pool:
            assert (await evaluate(pool, "correct")).status in CORRECT
            for name, (status, kinds) in WRONG.items():
                outcome = await evaluate(pool, name)
                if outcome.status != status or detail(outcome) not in kinds.split("|"):
                    wrong.append(f"{name}: {outcome}")
                if status in ("check_failed", "timed_out"):
                    after = await evaluate(pool, "correct")
                    if after.status not in CORRECT:
                        wrong.append(f"correct after {name}: {after}")
        return wrong

    assert asyncio.run(run()) == []


@pytest.mark.sycl
@pytest.mark.slow
def test_one_evaluation_on_its_own_on_an_embedded_task(device: DeviceInfo, cache: Path) -> None:
    text = (HERE.parents[1] / "docs" / "candidate.md").read_text().split("```python\n")[1].split("```")[0]
    parsed = parse_candidate(text)
    assert isinstance(parsed, CandidateSource)
    done = asyncio.run(
        evaluate_once(
            parsed, "kb/L2/17", "small", device=device, track="sealed", cache_dir=cache, user_dir=None
        )
    )
    assert done.outcome.status in CORRECT, done.outcome
    assert done.built is not None
    assert done.built.library_ops == ("conv2d",)


def command(name: str, home: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    file = HERE / "candidates" / f"{name}.py"
    return subprocess.run(
        [sys.executable, "-m", "kforge", "eval", str(file), "--task", TASK, "--device", "cpu", "--json"],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "KFORGE_HOME": str(home), "KFORGE_CACHE": str(cache)},
    )  # fmt: skip


@pytest.mark.sycl
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in RUN_ONLY else pytest.mark.slow) for n in WRONG] + ["correct"],
)
def test_the_command_answers_in_json_with_its_exit_code(name: str, tmp_path: Path, cache: Path) -> None:
    done = command(name, tmp_path, cache)
    answer = json.loads(done.stdout)
    assert [key for key in KEYS if key not in answer] == []
    assert answer["measures"] is None or set(answer["measures"]) == {"memory", "compute", "parallelism"}
    assert set(answer["seconds"]) == {"build", "check", "bench", "total"}
    if name == "correct":
        assert answer["status"] in CORRECT
        assert done.returncode == (0 if answer["status"] == "passed" else 1)
        assert answer["reason"] is None or answer["status"] == "unstable"
        return
    assert (answer["status"], done.returncode) == (WRONG[name][0], 1)
    assert answer["reason"]
    assert answer["speedup"] is None
    assert answer["latency_us"] is None
    assert "Traceback" not in done.stderr
