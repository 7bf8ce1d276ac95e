"""One honest candidate per feature of the plan, on the card: correct, timed, at the precision it declares."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kforge.types import Passed
from tests.gpu.opened import CANDIDATES, Opened, Tune, from_file

# (task, size): its candidates; what each shows is said in its file.
EXAMPLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("kb/L1/1", "small"): (
        "matmul_wmma_tf32", "matmul_wmma_fp16", "matmul_mma_bf16", "matmul_split_k", "matmul_counters",
    ),
    ("kb/L1/19", "small"): (
        "relu_float4", "relu_tma", "relu_tma_maps", "relu_struct", "relu_pointers", "relu_copy",
    ),
    ("kb/L1/23", "small"): (
        "softmax_dynamic_shared", "softmax_cluster", "softmax_pdl", "softmax_cub", "softmax_waves",
    ),
    ("kb/L1/40", "small"): ("layernorm_persistent", "layernorm_two_stage"),
    ("kb/L2/17", "small"): ("instance_norm_shared", "instance_norm_tf32"),
}  # fmt: skip
CHOICES: dict[str, Tune] = {"softmax_cluster": {"CLUSTER": 16}}
# What only size can show: truths in pieces, offsets beyond 32 bits, memory given back between stages.
FULL: dict[tuple[str, str], tuple[str, ...]] = {
    ("kb/L1/19", "full"): ("relu_float4",),
    ("kb/L1/40", "full"): ("layernorm_two_stage", "layernorm_persistent"),
    ("kb/L2/17", "full"): ("instance_norm_shared", "instance_norm_tf32"),
}


def cases() -> list[object]:
    found: list[object] = []
    for table, marks in ((EXAMPLES, ()), (FULL, (pytest.mark.slow,))):
        for pool, names in table.items():
            found += [pytest.param(pool, n, {}, marks=marks, id=f"{n}-{pool[1]}") for n in names]
            found += [
                pytest.param(pool, n, CHOICES[n], marks=marks, id=f"{n}-{pool[1]}-other")
                for n in names
                if n in CHOICES
            ]
    return found


@pytest.mark.parametrize(("opened", "name", "tune"), cases(), indirect=["opened"])
def test_an_honest_candidate_passes(
    opened: Opened, name: str, tune: Tune, record_property: Callable[[str, object], None]
) -> None:
    outcome = opened.outcome(from_file(name), tune)
    assert isinstance(outcome, Passed), outcome
    assert outcome.max_error <= 1.0
    # Three of the first ten samples and the witness burst, always; later samples by chance.
    assert all(result.timed_outputs_checked >= 4 for result in outcome.workloads)
    assert all(result.wall_us is not None for result in outcome.workloads)
    for word in ("speedup", "latency_us", "baseline_us", "max_error"):
        record_property(word, getattr(outcome, word))


def test_every_file_is_expected() -> None:
    listed = {name for table in (EXAMPLES, FULL) for names in table.values() for name in names}
    assert {path.stem for path in CANDIDATES.glob("*.py")} == listed
