"""The control pack on real tasks: what each control gets through, and what none does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kforge.data.verdicts import Checked, Judged, NotApplicable, status_of
from kforge.eval.admission import check_workloads
from kforge.eval.controls import CONTROLS, HalfStale, HalfZero
from kforge.eval.controls_scene import Answer, Sample, Scene
from tests.admission.sources import MATMUL, MEAN_OF_NORMALISED, SMALL_SOFTMAX, X, loaded, source


def check(directory: Path, text: str) -> Checked:
    findings = check_workloads(loaded(directory, text).workloads, random.Random(1))
    assert [f.control for f in findings] == [c.name for c in CONTROLS]
    return Checked(findings, (), "", 0.0)


def refused(checked: Checked) -> dict[str, str]:
    return {f.control: f.reason for f in checked.findings if isinstance(f, NotApplicable)}


def test_every_control_fails_on_a_matrix_product(tmp_path: Path) -> None:
    found = check(tmp_path, MATMUL)
    assert status_of(found) == "admitted"
    judged = [f for f in found.findings if isinstance(f, Judged)]
    assert {"zeros", "constant", "template", "stale", "rows_1_percent", "half_stale"} <= {
        f.control for f in judged
    }
    assert all(f.trial is not None and f.error is not None and f.error > 1.0 for f in judged)


def test_a_mean_after_a_normalisation_is_degenerate(tmp_path: Path) -> None:
    found = check(tmp_path, MEAN_OF_NORMALISED)
    assert status_of(found) == "degenerate"
    assert "zeros" in found.accepted("kforge")
    assert "zeros" in found.accepted("kernelbench")


def test_small_values_are_weak_under_the_first_tolerance_only(tmp_path: Path) -> None:
    found = check(tmp_path, SMALL_SOFTMAX)
    assert status_of(found) == "weak"
    assert {"zeros", "constant", "stale", "input_independent"} <= set(found.accepted("kernelbench_v0"))
    assert "zeros" not in found.accepted("kernelbench")
    assert found.accepted("kforge") == ()


@pytest.mark.parametrize(
    ("text", "control"),
    [
        # One affine pass without statistics, as long as the generator's moments are those of the rows.
        (source("x: F.layer_norm(x, (columns,))", X, "", "rows = 2\ncolumns = 65536\n"), "known_moments"),
        (source("x: x / torch.norm(x)", X, constants="rows = 128\ncolumns = 256\n"), "input_times_constant"),
        (source("x: x.mean()", X, constants="rows = 1000\ncolumns = 1000\n"), "rows_10_percent"),
        # Whatever is not negative passes a ReLU as it is.
        (source("x: torch.relu(x)", X), "input_copy"),
        # Gamma is one and beta zero under every seed of KernelBench.
        (source("x: self.norm(x)", X, "self.norm = nn.LayerNorm(columns)"), "weight_independent"),
        (source("x, y: y + x.mean()", f"{X}, torch.rand(4)", constants="rows = 999\ncolumns = 999\n"),
         "largest_input_ignored"),
    ],
)  # fmt: skip
def test_a_shortcut_that_kernelbench_takes_is_found_and_kforge_rejects_it(
    tmp_path: Path, text: str, control: str
) -> None:
    found = check(tmp_path, text)
    assert control in found.accepted("kernelbench_v0")
    assert control not in found.accepted("kforge")


def test_a_map_is_no_cheat_where_the_reference_is_one(tmp_path: Path) -> None:
    found = check(tmp_path, source("x: 3.0 * x", X))
    assert status_of(found) == "admitted"
    assert "the reference is a map of single values itself" in refused(found)["input_times_constant"]
    assert "affine" in refused(found)


def test_weights_that_do_not_matter_make_a_task_degenerate(tmp_path: Path) -> None:
    found = check(
        tmp_path, source("x: x @ x.T + 0.0 * self.w.sum()", X, "self.w = nn.Parameter(torch.rand(4))")
    )
    assert found.accepted("kforge") == ("weight_independent",)


def test_a_control_that_does_not_apply_says_why(tmp_path: Path) -> None:
    found = refused(check(tmp_path, source("x: torch.argmax(x, 1)", X)))
    assert found["weight_independent"] == "the model has no parameters"
    assert found["affine"] == "the output holds integers"
    assert found["input_copy"] == "no input has as many values as the output"
    scalar = refused(check(tmp_path, source("x: x.square().mean()", X)))
    assert scalar["half_zero"] == "the output is a single value"
    assert scalar["template"] == "the output has no batch to take a mean over"


def test_the_same_seed_gives_the_same_verdict(tmp_path: Path) -> None:
    assert check(tmp_path, MEAN_OF_NORMALISED).findings == check(tmp_path, MEAN_OF_NORMALISED).findings


def test_half_of_a_half_tile_is_right_and_no_more() -> None:
    other = torch.full((4, 6), 2.0)
    scene = Scene((), (Sample((), (other,)),), (other,), None, lambda values: None)
    right = (torch.arange(24.0).reshape(4, 6) + 10,)
    for control, rest in ((HalfZero(), 0.0), (HalfStale(), 2.0)):
        answer = control.partly(scene, right)
        assert isinstance(answer, Answer)
        flat: Tensor = answer.outputs[0].reshape(-1)
        assert torch.equal(flat[:12], right[0].reshape(-1)[:12])
        assert bool((flat[12:] == rest).all())
