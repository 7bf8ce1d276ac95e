"""Kernels with known bottlenecks: the diagnosis names the right one first.

The machine code is real. Times are plausible ones for an H100, not measured, except where a comment says so:
``docs/diagnosis.md`` lists what a card has still to confirm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import pytest

from kforge.codec import from_json, to_json
from kforge.diagnosis_types import (
    Diagnosis,
    Evidence,
    LimiterName,
    MeasuredMetrics,
    PlanFacts,
)
from kforge.eval.advice import ADVICE
from kforge.eval.case import Case
from kforge.eval.diagnosis import diagnose, with_metrics
from kforge.types import Ceilings, DType, InputSpec, Precision, TensorSpec, WorkloadSpec
from tests.eval.cuda_code import H100
from tests.eval.sass.compiled import Three, compiled, launched

pytestmark = pytest.mark.cuda
# Copy, fp32 and TF32 products as measured on an H100; the rates of the halves are made up.
CEILINGS = Ceilings(3.01e12, 51e12, 368e12, 650e12, 650e12)
MI = 1 << 20


def tensor(name: str, count: int, dtype: DType = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, (count,), (1,))


def workload(read: int, written: int, *, flops: int = 0, dtype: DType = "float32") -> WorkloadSpec:
    given = InputSpec("x", "real", tensor("x", read, dtype))
    out = (tensor("y", written, dtype),)
    return WorkloadSpec("default", (given,), (), (), {}, out, returns_tuple=False, flops=flops)


def product(n: int) -> WorkloadSpec:
    return workload(2 * n * n, n * n, flops=2 * n**3)


@dataclass(frozen=True)
class Known:
    """A kernel, how it is launched, and the limiter that must come first."""

    first: LimiterName
    kernel: str
    task: WorkloadSpec
    time_us: float
    grid: Three
    block: Three = (256, 1, 1)
    ints: Mapping[int, int] = field(default_factory=dict)
    precision: Precision = "ieee"
    shared_bytes: int = 0
    launches: int = 1
    passes: int = 1  # times that the task's bytes cross memory


WIDE, TILE = (32, 8, 1), (32, 32, 1)
ELEMENTS = workload(64 * MI, 64 * MI)  # 537 MB, 178 us at the copy rate
SUM = workload(64 * MI, 1)
KNOWN: dict[str, Known] = {
    # 184.9 us is measured, of a kernel like this one on an H100.
    "at the memory bound": Known("memory_bandwidth", "copy_float4", ELEMENTS, 184.9, (65536, 1, 1)),
    "uncoalesced stores": Known(
        "uncoalesced", "transpose_naive", ELEMENTS, 900, (256, 1024, 1), WIDE, {2: 8192}
    ),
    "uncoalesced rows": Known(
        "uncoalesced", "row_per_thread", workload(64 * MI, 65536), 800, (256, 1, 1), ints={2: 1024}
    ),
    "bank conflicts": Known(
        "bank_conflicts", "transpose_conflict", ELEMENTS, 520, (256, 256, 1), WIDE, {2: 8192}
    ),
    "low occupancy by shared memory": Known(
        "low_occupancy", "dynamic_shared", ELEMENTS, 700, (262144, 1, 1), shared_bytes=200_000
    ),
    # 4.1 us is measured, of a relu over 16 Ki floats on an H100.
    "one short launch": Known(
        "launch_overhead", "copy_scalar", workload(16384, 16384), 4.1, (64, 1, 1)
    ),
    "many short launches": Known(
        "launch_overhead", "grid_stride", workload(MI, MI), 95, (1056, 1, 1), ints={2: MI}, launches=40
    ),
    "spills": Known(
        "spills", "spilling", workload(96 * MI, 96 * MI), 4000, (1024, 1, 1), (1024, 1, 1), {2: 64}
    ),
    "an array in local memory": Known(
        "local_arrays", "local_array", workload(64 * MI, MI), 1500, (4096, 1, 1), ints={3: 64}
    ),
    "compute bound without tensor cores": Known(
        "no_tensor_cores", "matmul_registers", product(4096), 3100, (32, 32, 1), ints={3: 4096},
        precision="tf32",
    ),
    "at the arithmetic bound": Known(
        "arithmetic", "matmul_registers", product(4096), 2900, (32, 32, 1), ints={3: 4096}
    ),
    "operands fetched again and again": Known(
        "little_reuse", "matmul_naive", product(4096), 22_000, (128, 512, 1), WIDE, {3: 4096}
    ),
    "a product along the wrong index": Known(
        "uncoalesced", "matmul_swapped", product(4096), 150_000, (128, 512, 1), WIDE, {3: 4096}
    ),
    "operands from shared memory": Known(
        "shared_traffic", "matmul_tiled", product(4096), 8500, (128, 128, 1), TILE, {3: 4096}
    ),
    "eight blocks": Known(
        "too_few_blocks", "row_per_block", workload(64 * MI, 8), 2500, (8, 1, 1), ints={2: 8 * MI}
    ),
    "eight threads in a block": Known(
        "partial_warps", "copy_scalar", ELEMENTS, 1500, (8 * MI, 1, 1), (8, 1, 1)
    ),
    "a wave for one block": Known(
        "tail_wave", "fma_chain", workload(MI, MI), 5000, (1057, 1, 1), ints={2: 100_000}
    ),
    "bytes one at a time": Known(
        "few_bytes_in_flight", "copy_byte", workload(256 * MI, 256 * MI, dtype="uint8"), 600, (MI, 1, 1)
    ),
    "one total for all": Known("atomics", "one_total", SUM, 3000, (1056, 1, 1), ints={2: 64 * MI}),
    "literals in double": Known(
        "double_precision", "double_literals", workload(MI, MI), 900, (4096, 1, 1), ints={2: 100}
    ),
    "exponentials": Known(
        "special_functions", "exponentials", workload(MI, MI), 500, (4224, 1, 1), ints={2: 100}
    ),
    "division by what is known at run time": Known(
        "index_arithmetic", "divisions", ELEMENTS, 520, (1056, 1, 1), ints={2: 64 * MI, 3: 300, 4: 500}
    ),
    "three passes": Known(
        "extra_traffic", "copy_float4", ELEMENTS, 560, (65536, 1, 1), launches=3, passes=3
    ),
}  # fmt: skip


def case_of(known: Known, *, timed: bool = True) -> Case:
    launch = launched(known.kernel, known.grid, known.block, known.ints, shared_bytes=known.shared_bytes)
    moved = 4 * (known.task.outputs[0].shape[0] + math.prod(known.task.inputs[0].tensor.shape))  # type: ignore[union-attr]  # inputs here are tensors
    if known.task.outputs[0].dtype == "uint8":
        moved //= 4
    launch = replace(launch, launches=known.launches, tensor_bytes=moved * known.passes // known.launches)
    plan = PlanFacts((launch,), (), 0)
    return Case(
        known.task, known.precision, H100, CEILINGS, compiled()[1], plan, known.time_us if timed else None
    )


@pytest.mark.parametrize("name", KNOWN)
def test_the_right_limiter_comes_first(name: str) -> None:
    found = diagnose(case_of(KNOWN[name]))
    assert [limiter.name for limiter in found.limiters][:1] == [KNOWN[name].first], found


def test_there_are_enough_of_them() -> None:
    assert len(KNOWN) == 23  # docs/diagnosis.md says so
    assert len({known.first for known in KNOWN.values()}) >= 12


# Without a time nothing says whether a flaw matters; what the code alone shows is still in order.
STATIC = (
    "uncoalesced stores", "uncoalesced rows", "bank conflicts", "spills", "an array in local memory",
    "a product along the wrong index", "eight blocks", "eight threads in a block", "one total for all",
    "literals in double", "exponentials", "division by what is known at run time",
)  # fmt: skip


@pytest.mark.parametrize("name", STATIC)
def test_code_alone_shows_it_without_a_time(name: str) -> None:
    found = diagnose(case_of(KNOWN[name], timed=False))
    assert found.roofline is None
    assert found.limiters[0].name == KNOWN[name].first, found.limiters


@pytest.mark.parametrize("name", KNOWN)
def test_every_limiter_has_figures_and_a_sentence(name: str) -> None:
    found = diagnose(case_of(KNOWN[name]))
    assert from_json(Diagnosis, to_json(found)) == found
    for limiter in found.limiters:
        assert 0 < limiter.share <= 1
        assert limiter.evidence
        assert all(math.isfinite(evidence.value) for evidence in limiter.evidence)
        assert limiter.action.endswith(".")
        assert limiter.action.count(". ") == 0


def test_the_roofline_has_the_figures() -> None:
    found = diagnose(case_of(KNOWN["at the memory bound"])).roofline
    assert found is not None
    assert found.bytes == 2 * 4 * 64 * MI
    assert found.achieved_bytes_per_s == pytest.approx(2.9e12, rel=0.01)
    assert found.fraction == pytest.approx(178.4 / 184.9, rel=0.01)
    assert (found.limit, found.achieved_flops_per_s) == ("memory", None)


def test_every_name_has_its_advice() -> None:
    assert set(ADVICE) == set(get_args(LimiterName))


def test_a_good_kernel_is_told_that_nothing_is_left() -> None:
    found = diagnose(case_of(KNOWN["at the memory bound"]))
    assert [limiter.name for limiter in found.limiters] == ["memory_bandwidth"]


def test_what_nothing_explains_is_said() -> None:
    slow = replace(KNOWN["at the memory bound"], time_us=2000.0)
    found = diagnose(case_of(slow))
    assert [limiter.name for limiter in found.limiters] == ["unexplained"]
    (over,) = found.limiters[0].evidence
    assert over == Evidence("time above the bound", over.value, "us")
    assert over.value == pytest.approx(2000 - 178.4, abs=1)


def test_an_unknown_address_is_said_and_held_against_nobody() -> None:
    gather = Known("unexplained", "gather", ELEMENTS, 600, (262144, 1, 1))
    found = diagnose(case_of(gather))
    assert found.unknown == ("how gather addresses global memory in 33% of its accesses: read from memory",)
    assert "uncoalesced" not in {limiter.name for limiter in found.limiters}


def test_a_profile_says_what_the_code_does_not() -> None:
    case = case_of(Known("uncoalesced", "gather", ELEMENTS, 600, (262144, 1, 1)))
    metrics = MeasuredMetrics("gather", global_sectors_per_request=28.0)
    found = diagnose(with_metrics(case, [metrics]))
    assert (found.limiters[0].name, found.limiters[0].basis) == ("uncoalesced", "profiled")


def test_a_profile_overrules_the_code() -> None:
    case = case_of(KNOWN["bank conflicts"])
    clean = MeasuredMetrics("transpose_conflict", shared_conflict_share=0.0, global_sectors_per_request=4.0)
    assert "bank_conflicts" not in {x.name for x in diagnose(with_metrics(case, [clean])).limiters}
    again = MeasuredMetrics("transpose_conflict", shared_conflict_share=0.0, dram_bytes=3 * 2 * 4 * 64 * MI)
    first = diagnose(with_metrics(case, [again])).limiters[0]
    assert (first.name, first.basis) == ("extra_traffic", "profiled")


def test_addresses_that_nobody_followed_are_said() -> None:
    case = case_of(KNOWN["uncoalesced stores"])
    (launch,) = case.plan.launches
    found = diagnose(replace(case, plan=PlanFacts((replace(launch, accesses=()),), (), 0)))
    assert found.unknown == ("how transpose_naive addresses memory: there is too much code to follow",)


def test_an_architecture_without_limits_is_said() -> None:
    case = case_of(KNOWN["bank conflicts"])
    found = diagnose(replace(case, device=replace(H100, arch="sm_999")))
    assert found.unknown == ("limits and rates of sm_999",)
    assert {limiter.name for limiter in found.limiters} <= {"unexplained", "launch_overhead"}


def test_a_device_that_was_not_measured_has_no_roofline() -> None:
    found = diagnose(replace(case_of(KNOWN["spills"]), ceilings=None))
    assert found.roofline is None
    assert found.limiters[0].name == "spills"


def test_the_larger_kernel_comes_first() -> None:
    case = case_of(KNOWN["bank conflicts"])
    small = replace(launched("one_total", (1, 1, 1), ints={2: 1024}), tensor_bytes=4096)
    found = diagnose(replace(case, plan=PlanFacts((small, *case.plan.launches), (), 0)))
    assert (found.limiters[0].name, found.limiters[0].kernel) == ("bank_conflicts", "transpose_conflict")


def test_library_operators_are_named_with_their_bytes() -> None:
    case = case_of(KNOWN["at the memory bound"])
    moved = case.plan.launches[0].tensor_bytes
    plan = PlanFacts(case.plan.launches, ("conv2d",), 3 * moved)
    found = diagnose(replace(case, plan=plan, time_us=1200.0))
    assert {limiter.name for limiter in found.limiters} >= {"library_operators", "extra_traffic"}


def test_lists_are_short() -> None:
    assert all(len(diagnose(case_of(known)).limiters) <= 5 for known in KNOWN.values())
