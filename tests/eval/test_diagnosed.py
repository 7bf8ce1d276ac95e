"""A diagnosis on its way: from a built candidate to results, JSON, a terminal and a model's prompt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kforge.codec import from_json, to_dict, to_json
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.diagnosis_types import Diagnosis, Evidence, Limiter
from kforge.diagnosis_words import diagnosis_lines, launch_lines
from kforge.eval import sass
from kforge.eval.accesses import accesses
from kforge.eval.address_flow import requests
from kforge.eval.diagnosed import diagnosed
from kforge.eval.instruction_mix import instruction_mix
from kforge.eval.lanes import LANES, WORD, Known
from kforge.eval.pipeline import build_candidate
from kforge.eval.warp_reading import Surroundings
from kforge.render import print_built, print_workload
from kforge.search.prompts import PromptParts, render_prompt, shown
from kforge.types import Built, CheckFailed, Outcome, Passed, Samples, TaskDescription, WorkloadResult
from tests.eval.cuda_code import H100, built, kernel
from tests.eval.test_diagnosis import CEILINGS
from tests.gpu.opened import from_file

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def task() -> TaskDescription:
    return describe(load_task(resolve("kb/L1/19"), "small"))


@pytest.fixture(scope="module")
def relu(task: TaskDescription, cache: Path) -> Built:
    source = from_file("relu_float4")
    found = asyncio.run(
        build_candidate(source, source.first_choice(), task, device=H100, track="sealed", cache_dir=cache)
    )
    assert isinstance(found, Built), found
    return found


def passed(task: TaskDescription, time_us: float) -> Passed:
    times = Samples(20, time_us, time_us, time_us, 0.0, time_us, time_us)
    result = WorkloadResult(
        task.workloads[0].name, times, times, 2.0, time_us, 1.0, 1.0, 1.0, "SAME", 6, 3, 0.1, kb_correct=True
    )
    return Passed(1.0, 1.0, 1.0, time_us, time_us, 0.0, "SAME", 0.1, kb_correct=True, workloads=(result,))


def of_relu(task: TaskDescription, relu: Built, time_us: float) -> Passed:
    found = diagnosed(passed(task, time_us), relu, task, device=H100, ceilings=CEILINGS, precision="ieee")
    assert isinstance(found, Passed)
    return found


def test_a_build_has_the_facts_of_its_launches(relu: Built, task: TaskDescription) -> None:
    plan = relu.plan_facts[task.workloads[0].name]
    (launch,) = plan.launches
    assert launch.launches == 1
    assert launch.blocks * launch.threads_per_block > 0
    assert launch.occupancy is not None
    assert (
        launch.tensor_bytes
        == 2 * 4 * task.workloads[0].outputs[0].shape[0] * task.workloads[0].outputs[0].shape[1]
    )
    assert from_json(Built, to_json(relu)) == relu


def test_a_passed_candidate_gets_its_diagnosis(relu: Built, task: TaskDescription) -> None:
    found = of_relu(task, relu, 4.1).workloads[0].diagnosis
    assert found is not None
    assert found.roofline is not None
    assert found.roofline.time_us == 4.1
    assert found.limiters


def test_nothing_else_changes(relu: Built, task: TaskDescription) -> None:
    failed = CheckFailed("wrong", "mismatch", "default", 1)
    assert diagnosed(failed, relu, task, device=H100, ceilings=CEILINGS, precision="ieee") is failed
    before, after = to_dict(passed(task, 4.1)), to_dict(of_relu(task, relu, 4.1))
    after["workloads"][0]["diagnosis"] = None
    assert before == after


def test_outcomes_without_a_diagnosis_are_still_read(relu: Built, task: TaskDescription) -> None:
    outcome = of_relu(task, relu, 4.1)
    assert from_json(Outcome, to_json(outcome, Outcome)) == outcome  # type: ignore[arg-type]
    old = json.loads(to_json(outcome, Outcome))
    del old["workloads"][0]["diagnosis"]
    assert from_json(Passed, json.dumps(old)) == passed(task, 4.1)


def test_a_person_reads_it(relu: Built, task: TaskDescription, capsys: pytest.CaptureFixture[str]) -> None:
    print_workload(of_relu(task, relu, 40.0).workloads[0])
    print_built(relu, H100)
    said = capsys.readouterr().out
    assert "what limits it, the largest first" in said
    assert "    1. " in said
    assert "warps per SM" in said


def test_a_model_reads_it_instead_of_general_advice(relu: Built, task: TaskDescription) -> None:
    def user(outcome: Passed) -> str:
        parent = shown("x", outcome, relu.measures)
        parts = PromptParts("improve", parent, (), ())
        return render_prompt(task, H100, "sealed", parts, ceilings=CEILINGS)[1].content

    with_it, without = user(of_relu(task, relu, 4000.0)), user(passed(task, 4000.0))
    assert "What limits it, workload" in with_it
    assert "\n1. " in with_it
    assert "something else limits" in without
    assert "something else limits" not in with_it
    assert "What limits it" not in without


def test_the_words_have_numbers_and_units() -> None:
    limiter = Limiter(
        "bank_conflicts", "f", 0.583, "static",
        (Evidence("worst access", 32.0, "-way conflict"), Evidence("time", 5.25, "us"), Evidence("r", 0.5)),
        "Pad it.",
    )  # fmt: skip
    assert diagnosis_lines(Diagnosis(None, (limiter,), ("this", "that"))) == [
        "1. bank conflicts in f, about 58% of the time (seen in the code: worst access 32-way conflict, "
        "time 5.25 us, r 0.5). Pad it.",
        "Not known: this; that.",
    ]


def test_a_launch_in_words(relu: Built, task: TaskDescription) -> None:
    (line,) = launch_lines(relu.plan_facts[task.workloads[0].name])
    assert " blocks of " in line
    assert "limited by" in line
    assert "waves" in line


LANE = Known(tuple(range(LANES)), WORD)
AROUND = Surroundings((LANE, LANE, LANE, LANE), {})


@pytest.fixture(scope="module")
def text(cache: Path) -> str:
    code = kernel(
        "const float* x, float* y, int n",
        "__shared__ float t[64]; for (int i = threadIdx.x; i < n; i += 64) { t[i % 64] = x[i * 3]; "
        "__syncthreads(); if (i & 1) y[i] = t[(i ^ 5) % 64]; atomicAdd(&y[n], x[i]); }",
    )
    return built(code, cache).intermediate.decode()  # type: ignore[union-attr]  # it builds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.characters(codec="ascii")), max_size=40))
def test_damaged_machine_code_is_read_without_an_exception(text: str, changes: list[tuple[int, str]]) -> None:
    letters = list(text)
    for at, letter in changes:
        letters[at % len(letters)] = letter
    for code in sass.kernels_of("".join(letters)).values():
        instruction_mix(code)
        accesses(requests(code, AROUND), LANES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False))
def test_shuffled_machine_code_is_read_without_an_exception(text: str, order: object) -> None:
    lines = text.splitlines()
    order.shuffle(lines)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    for code in sass.kernels_of(".section .text.f,\n" + "\n".join(lines)).values():
        instruction_mix(code)
        accesses(requests(code, AROUND), LANES)
