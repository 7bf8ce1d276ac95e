"""Candidates that must be rejected on the card, each with its kind of failure; the card survives them."""

from __future__ import annotations

import pytest

from kforge.types import CheckFailed, Outcome, Passed, TimedOut
from tests.gpu.opened import Opened, candidate, from_file

POOL = ("kb/L1/19", "small")
HONEST = "y[i] = v < 0.0f ? 0.0f : v;"
KERNEL = """\
#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(256)
f(const float* __restrict__ x, float* y, float* scratch, long long n) {
  long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  float v = x[i];
  %s
}
"""
PLAN = """\
def plan(k, x):
    y = k.empty_like(x)
    scratch = k.view(k.scratch(4 * x.numel()), 0, "float32", x.shape)
    k.launch("f", (k.cdiv(x.numel(), 256),), (256,), [x, y, scratch, x.numel()], cooperative=COOPERATIVE)
    return y
"""
# name: the kernel's body, and the kinds of check failure that tell it truly.
WRONG: dict[str, tuple[str, set[str]]] = {
    "values": ("y[i] = (v < 0.0f ? 0.0f : v) + 1e-5f;", {"mismatch"}),
    "one value": ("y[i] = v < 0.0f ? 0.0f : v; if (i == n / 3) y[i] += 0.01f;", {"mismatch"}),
    "only right where inputs are positive": ("y[i] = v;", {"mismatch"}),
    "unwritten tail": (f"if (i < n - 100) {HONEST}", {"mismatch", "non_finite", "unwritten"}),
    "one element behind the output": (HONEST + " if (i == 0) y[n] = 1.0f;", {"guard"}),
    "one element before the output": (HONEST + " if (i == 0) y[-1] = 1.0f;", {"guard"}),
    "one byte behind the scratch": (HONEST + " if (i == 0) ((char*)(scratch + n))[0] = 1;", {"guard"}),
    "an input, through a cast": (HONEST + " if (i == 7) ((float*)x)[i] = v + 1.0f;", {"input_changed"}),
    "rounded to half": ("y[i] = __half2float(__float2half_rn(v < 0.0f ? 0.0f : v));", {"mismatch"}),
    "the run before's outputs": (
        "y[i] = scratch[i]; scratch[i] = v < 0.0f ? 0.0f : v;", {"mismatch", "non_finite"},
    ),
    "far away": (HONEST + " y[i + (1LL << 42)] = v;", {"crash"}),
    "a null pointer": ("*(volatile float*)(8 * (i & 1)) = v;", {"crash"}),
    "a trap": (HONEST + ' if (i == 3) asm volatile("trap;");', {"crash"}),
}  # fmt: skip


def text(body: str, *, precision: str = "ieee", cooperative: bool = False) -> str:
    plan = PLAN.replace("COOPERATIVE", str(cooperative))
    return f'LANGUAGE = "cuda"\nPRECISION = "{precision}"\nSOURCE = """{KERNEL % body}"""\n\n\n{plan}'


def judged(opened: Opened, body: str) -> Outcome:
    return opened.outcome(candidate(text(body)))


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("opened", [POOL], indirect=True, ids=["relu"])
def test_a_wrong_candidate_is_told_by_kind(opened: Opened, name: str) -> None:
    body, kinds = WRONG[name]
    outcome = judged(opened, body)
    assert isinstance(outcome, CheckFailed), outcome
    assert outcome.kind in kinds, outcome
    assert outcome.workload
    assert outcome.reason


@pytest.mark.parametrize("opened", [POOL], indirect=True, ids=["relu"])
def test_an_endless_kernel_times_out_and_the_card_survives(opened: Opened) -> None:
    outcome = judged(opened, "while (*(volatile float*)y != 12345.0f) { } " + HONEST)
    assert isinstance(outcome, TimedOut), outcome
    assert outcome.stage == "check"
    after = judged(opened, HONEST)
    assert isinstance(after, Passed), after


@pytest.mark.parametrize("opened", [POOL], indirect=True, ids=["relu"])
def test_the_card_survives_an_illegal_address(opened: Opened) -> None:
    outcome = judged(opened, WRONG["far away"][0])
    assert isinstance(outcome, CheckFailed), outcome
    after = opened.outcome(from_file("relu_float4"))
    assert isinstance(after, Passed), after


@pytest.mark.parametrize("opened", [POOL], indirect=True, ids=["relu"])
def test_rounding_to_half_is_right_where_it_is_declared(opened: Opened) -> None:
    outcome = opened.outcome(candidate(text(WRONG["rounded to half"][0], precision="fp16")))
    assert isinstance(outcome, Passed), outcome


@pytest.mark.parametrize("opened", [POOL], indirect=True, ids=["relu"])
def test_answers_kept_in_scratch_are_gone_before_the_next_run(opened: Opened) -> None:
    """It answers from memory where it finds its own mark, which no poison holds: within a burst as well."""
    body = (
        "int kept = __float_as_int(scratch[i]);\n"
        "  if ((kept & 0xff) == 0x5c) { y[i] = __int_as_float(kept); return; }\n"
        f"  {HONEST} scratch[i] = __int_as_float((__float_as_int(y[i]) & ~0xff) | 0x5c);"
    )
    outcome = judged(opened, body)
    assert isinstance(outcome, Passed), outcome


@pytest.mark.parametrize("opened", [POOL], indirect=True, ids=["relu"])
def test_a_cooperative_grid_that_does_not_fit_is_a_failed_launch(opened: Opened) -> None:
    outcome = opened.outcome(candidate(text(HONEST, cooperative=True)))
    assert isinstance(outcome, CheckFailed), outcome
    assert outcome.kind == "launch"
    assert "waves" in outcome.reason
