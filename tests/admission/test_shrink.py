"""The shrink rule finds batches by what they change, not by their names."""

from __future__ import annotations

from pathlib import Path

from kforge.eval.admission_shrink import ShrinkRule, cost_of, shrink
from tests.admission.sources import loaded, source

RULE = ShrinkRule(tensor_bytes=1 << 20, parameter_bytes=1 << 20, flops=10_000_000, values=1 << 18)


def shrunk(
    directory: Path, text: str
) -> tuple[dict[str, tuple[str, str]], tuple[tuple[int, ...] | None, ...]]:
    workload, changed = shrink(loaded(directory, text).workloads[0], RULE)
    assert cost_of(workload).excess(RULE) <= 1.0
    return changed, cost_of(workload).inputs


def test_a_small_task_stays_as_it_is(tmp_path: Path) -> None:
    changed, inputs = shrunk(tmp_path, source("x: x * x", "torch.rand(rows, columns)"))
    assert (changed, inputs) == ({}, ((32, 48),))


def test_the_batch_is_cut_first_and_features_stay(tmp_path: Path) -> None:
    text = source(
        "x: self.linear(x)", "torch.rand(zebras, spots)", "self.linear = nn.Linear(spots, 256)",
        "spots = 512\nzebras = 65536\n",
    )  # fmt: skip
    changed, inputs = shrunk(tmp_path, text)
    assert set(changed) == {"zebras"}
    assert changed["zebras"][0] == "65536"
    assert inputs[0] is not None
    assert inputs[0][1] == 512
    assert inputs[0][0] >= RULE.least_batch


def test_other_dimensions_are_cut_where_the_batch_does_not_do(tmp_path: Path) -> None:
    text = source(
        "x: torch.relu(x)", "torch.rand(batch, *shape)", constants="batch = 8\nshape = (4096, 4096)\n"
    )
    changed, inputs = shrunk(tmp_path, text)
    assert inputs[0] is not None
    assert inputs[0][0] == RULE.least_batch
    assert min(inputs[0][1:]) * 2 >= max(inputs[0][1:])  # the largest first, so both
    assert set(changed) == {"batch", "shape"}


def test_dimensions_that_must_stay_equal_are_cut_together(tmp_path: Path) -> None:
    text = source("x, y: (x * y).mean()", "torch.rand(a, b), torch.rand(a)", constants="a = 4096\nb = 4096\n")
    _, inputs = shrunk(tmp_path, text)
    assert inputs[0] is not None
    assert inputs[0][0] == inputs[0][1] < 4096


def test_what_cannot_be_cut_is_left_as_small_as_it_gets(tmp_path: Path) -> None:
    workload = loaded(tmp_path, source("x: x * x", "torch.rand(1024, 1024)")).workloads[0]
    cut, changed = shrink(workload, RULE)
    assert changed == {}
    assert cost_of(cut).excess(RULE) > 1.0
    assert "checked as small as it gets" in RULE.words()
