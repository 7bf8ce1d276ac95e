"""Descriptions count the operations of contractions, and a count that fails is no failure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.errors import TaskError


def flops(task_id: str, size: str = "full") -> int:
    (workload,) = describe(load_task(resolve(task_id), size)).workloads
    return workload.flops


@pytest.mark.parametrize(
    ("task_id", "expected"),
    [
        ("kb/L1/1", 2 * 4096**3),
        ("kb/L1/19", 0),
        ("kb/L1/40", 0),
        # A convolution: two per output value, input channel and kernel element.
        ("kb/L1/50", 2 * (256 * 96 * 55 * 55) * 3 * 11 * 11),
        ("kb/L2/17", 2 * (128 * 128 * 126 * 126) * 64 * 3 * 3),
        ("kb/L2/86", 2 * 1024 * 8192 * 8192),
        # Three matrix products per block of attention's inputs and output, then QK and PV.
        ("kb/L3/43", 2 * 128 * 512 * 768 * (3 + 1) * 768 + 2 * 2 * 128 * 512 * 512 * 768),
    ],
)
def test_contractions_are_counted(task_id: str, expected: int) -> None:
    assert flops(task_id) == expected


def test_small_sizes_have_their_own_count() -> None:
    assert 0 < flops("kb/L2/17", "small") < flops("kb/L2/17")


def write_task(folder: Path, forward: str) -> Path:
    path = folder / "mine.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Model(nn.Module):\n"
        f"    def forward(self, x):\n        {forward}\n\n\n"
        "def get_inputs():\n    return [torch.rand(8, 8)]\n\n\ndef get_init_inputs():\n    return []\n"
    )
    return path


def test_code_that_reads_values_is_counted_on_the_host(tmp_path: Path) -> None:
    path = write_task(tmp_path, "return x @ x if float(x.sum()) >= 0 else x")
    assert flops(str(path)) == 2 * 8**3


def test_a_count_that_fails_is_left_at_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise NotImplementedError("no formula")

    monkeypatch.setattr(FlopCounterMode, "_count_flops", broken)
    path = write_task(tmp_path, "return x @ x")
    (workload,) = describe(load_task(resolve(str(path)), "full")).workloads
    assert workload.flops == 0
    assert workload.outputs[0].shape == (8, 8)


def test_code_that_fails_still_says_why(tmp_path: Path) -> None:
    path = write_task(tmp_path, "raise ValueError('too odd')")
    with pytest.raises(TaskError, match="too odd"):
        describe(load_task(resolve(str(path)), "full"))


def test_gradients_stay_off_while_counting(tmp_path: Path) -> None:
    path = write_task(tmp_path, "assert not torch.is_grad_enabled(); return x")
    assert flops(str(path)) == 0
    assert torch.is_grad_enabled()
