"""One honest candidate per feature of the plan, on the card: correct, timed, at the precision it declares."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kforge.types import Passed
from tests.gpu.opened import CANDIDATES, Opened, from_file

# (task, size): its candidates; what each shows is said in its file.
EXAMPLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("kb/L1/19", "full"): ("relu_float4",),
    ("kb/L1/40", "full"): ("layernorm_two_stage",),
    ("kb/L2/17", "full"): ("instance_norm_shared", "instance_norm_tf32"),
    ("kb/L1/23", "small"): ("softmax_dynamic_shared",),
}
CASES = [(pool, name) for pool, names in EXAMPLES.items() for name in names]


@pytest.mark.parametrize(
    ("opened", "name"),
    CASES,
    indirect=["opened"],
    ids=[f"{name}-{size}" for (_, size), name in CASES],
)
def test_an_honest_candidate_passes(
    opened: Opened, name: str, record_property: Callable[[str, object], None]
) -> None:
    source = from_file(name)
    outcome = opened.outcome(source)
    assert isinstance(outcome, Passed), outcome
    assert outcome.max_error <= 1.0
    assert [result.timed_outputs_checked for result in outcome.workloads] == [3]
    assert all(result.wall_us is not None for result in outcome.workloads)
    for word in ("speedup", "latency_us", "baseline_us", "max_error"):
        record_property(word, getattr(outcome, word))


def test_every_file_is_expected() -> None:
    assert {path.stem for path in CANDIDATES.glob("*.py")} == {name for _, name in CASES}
