"""The guard of an export: what is not exactly what the kernels were built for is told by its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kforge.export.runtime.guard import Reason, Workload, mode_matters, other_init, plain

DESCRIBED: dict[str, Any] = {
    "name": "default",
    "init": {"features": 4, "shape": [2, 4]},
    "inputs": [
        {"name": "x", "tensor": {"name": "x", "dtype": "float32", "shape": [2, 4], "strides": [4, 1]},
         "constant": None},
        {"name": "scale", "tensor": None, "constant": 2.0},
    ],
    "parameters": [{"name": "norm.weight", "dtype": "float32", "shape": [4], "strides": [1]}],
    "buffers": [],
    "plan": {"storages": [
        {"id": 0, "role": "param", "name": "norm.weight"}, {"id": 1, "role": "input", "name": "x"},
        {"id": 2, "role": "alloc", "name": None},
    ]},
}  # fmt: skip


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4, bias=False)


def told(model: nn.Module, *values: object) -> str:
    found = Workload(0, DESCRIBED).match(model, values, "cpu")
    return found.kind if isinstance(found, Reason) else "kernels"


def test_given_storages_get_their_tensors_in_the_plans_order() -> None:
    model, x = Normed(), torch.zeros(2, 4)
    found = Workload(0, DESCRIBED).match(model, (x, 2.0), "cpu")
    assert isinstance(found, list)
    assert found[0] is model.norm.weight
    assert found[1] is x


X = torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((X, 2.0), "kernels"),
        ((X,), "arguments"),
        ((X, 3.0), "arguments"),
        ((X, 2), "arguments"),
        ((X, X), "arguments"),
        ((None, 2.0), "arguments"),
        ((X.double(), 2.0), "dtype"),
        ((X[:1], 2.0), "shape"),
        ((torch.zeros(4, 2).T, 2.0), "strides"),
        ((X.to_sparse(), 2.0), "strides"),
        ((torch.zeros(9)[1:].view(2, 4), 2.0), "alignment"),
        ((X.to("meta"), 2.0), "device"),
    ],
)
def test_other_arguments_have_a_kind_of_reason(values: tuple[object, ...], kind: str) -> None:
    assert told(Normed(), *values) == kind


def test_other_weights_have_a_kind_of_reason() -> None:
    assert told(Normed().half(), X, 2.0) == "dtype"
    assert told(Normed().to("meta"), X, 2.0) == "device"
    removed = Normed()
    del removed.norm
    assert told(removed, X, 2.0) == "parameters"
    nn.utils.parametrizations.spectral_norm(wide := nn.Linear(4, 4))
    reshaped = Normed()
    reshaped.norm = wide  # type: ignore[assignment]
    assert told(reshaped, X, 2.0) == "parameters"


def test_strides_of_one_row_do_not_matter() -> None:
    one: dict[str, Any] = {**DESCRIBED, "inputs": [{
        "name": "x", "constant": None,
        "tensor": {"name": "x", "dtype": "float32", "shape": [1, 4], "strides": [4, 1]},
    }]}  # fmt: skip
    row: Tensor = torch.zeros(64).as_strided((1, 4), (16, 1))
    assert isinstance(Workload(0, one).match(Normed(), (row,), "cpu"), list)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"features": 4, "shape": (2, 4)}, None),
        ({"features": 5, "shape": (2, 4)}, "constructor"),
        ({"features": 4, "shape": (2, 4), "activation": torch.relu}, "constructor"),
    ],
)
def test_constructor_arguments_are_compared(given: dict[str, object], kind: str | None) -> None:
    reason = other_init(Workload(0, DESCRIBED), given)
    assert (reason.kind if reason else None) == kind


def test_plain_data_has_lists_all_the_way_down() -> None:
    assert plain({"a": (1, (2, 3))}) == {"a": [1, [2, 3]]}


class OwnMode(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else -x


@pytest.mark.parametrize(
    ("module", "matters"),
    [
        (nn.Conv2d(1, 1, 1), False),
        (nn.InstanceNorm2d(2), False),
        (nn.BatchNorm2d(2, track_running_stats=False), False),
        (nn.BatchNorm2d(2), True),
        (nn.InstanceNorm2d(2, track_running_stats=True), True),
        (nn.Dropout(), True),
        (OwnMode(), True),
        (nn.ReLU(), False),
        (nn.LayerNorm(2), False),
    ],
)
def test_modules_that_change_with_the_mode_are_known(module: nn.Module, matters: bool) -> None:
    assert mode_matters(module) is matters
