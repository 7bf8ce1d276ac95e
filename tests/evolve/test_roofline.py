"""The roofline: literal figures of an H100, units in words, and what it says about a time."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args

import pytest

from kforge.bounds import Bound, bound_of, traffic_bytes
from kforge.search.roofline import bytes_text, flops_text, position, task_lines, us_text
from kforge.types import Ceilings, DType, InputSpec, Precision, TensorSpec, WorkloadSpec

# Measured on an 80 GB H100: a copy, and 8192-cubed products with TF32 off and on; the halves are made up.
H100 = Ceilings(3.01e12, 51e12, 368e12, 700e12, 700e12)


def tensor(name: str, *shape: int, dtype: DType = "float32") -> TensorSpec:
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return TensorSpec(name, dtype, shape, strides)


def workload(
    given: tuple[TensorSpec, ...], parameters: tuple[TensorSpec, ...], out: TensorSpec, flops: int
) -> WorkloadSpec:
    inputs = tuple(InputSpec(t.name, "real", t) for t in given)
    return WorkloadSpec("default", inputs, parameters, (), {}, (out,), returns_tuple=False, flops=flops)


X40 = tensor("x", 16, 64, 256, 256)
X36 = tensor("x", 112, 64, 512, 512)
X1 = tensor("a", 4096, 4096)
KERNELBENCH = {
    "L1/40": workload((X40,), (tensor("w", 64, 256, 256), tensor("b", 64, 256, 256)), X40, 0),
    "L1/36": workload((X36,), (), X36, 0),
    "L1/1": workload((X1, X1), (), X1, 137438953472),
    "L2/17": workload(
        (tensor("x", 128, 64, 128, 128),),
        (tensor("conv.weight", 128, 64, 3, 3), tensor("conv.bias", 128)),
        tensor("out", 128, 128, 126, 126),
        299649466368,
    ),
}


@pytest.mark.parametrize(
    ("task", "moved", "limit", "bound_us"),
    [
        ("L1/40", 570425344, "memory", 190),
        ("L1/36", 15032385536, "memory", 4999),
        ("L1/1", 201326592, "arithmetic", 374),
        ("L2/17", 1577615872, "arithmetic", 815),
    ],
)
def test_bounds_are_those_published_for_an_h100(task: str, moved: int, limit: str, bound_us: float) -> None:
    spec = KERNELBENCH[task]
    assert traffic_bytes(spec) == moved
    bound = bound_of(spec, H100, "tf32")
    assert bound.limit == limit
    assert bound.bound_us == pytest.approx(bound_us, rel=0.003)


def test_the_precision_chooses_the_rate() -> None:
    bounds = {p: bound_of(KERNELBENCH["L2/17"], H100, p) for p in get_args(Precision)}
    assert bounds["ieee"].bound_us == pytest.approx(299649466368 / 51e12 * 1e6)
    assert bounds["fp16"].limit == bounds["bf16"].limit == "memory"
    assert {b.memory_us for b in bounds.values()} == {bounds["tf32"].memory_us}


def test_constants_and_buffers_do_not_move() -> None:
    spec = KERNELBENCH["L1/1"]
    more = dataclasses.replace(
        spec,
        inputs=(*spec.inputs, InputSpec("scale", "fixed", None, 2.0)),
        buffers=(tensor("running_mean", 64),),
    )
    assert traffic_bytes(more) == traffic_bytes(spec)
    half = dataclasses.replace(spec, inputs=(InputSpec("a", "real", tensor("a", 3, 5, dtype="bfloat16")),))
    assert traffic_bytes(half) == 30 + 4 * 4096 * 4096


def test_the_task_in_words() -> None:
    assert task_lines(KERNELBENCH["L1/40"], H100) == (
        "moves at least 570 MB (inputs, parameters and outputs once)",
        "bound 190 us at any precision, set by memory",
    )
    lines = task_lines(KERNELBENCH["L2/17"], H100)
    assert lines[0] == (
        "moves at least 1.58 GB (inputs, parameters and outputs once) and does 300 GFLOP in contractions"
    )
    assert lines[1] == "bound at ieee: 5,875 us, set by arithmetic (memory 524 us, arithmetic 5,875 us)"
    assert lines[2] == "bound at tf32: 814 us, set by arithmetic (memory 524 us, arithmetic 814 us)"
    assert task_lines(KERNELBENCH["L2/17"], None) == lines[:1]


@pytest.mark.parametrize(
    ("task", "latency_us", "precision", "words"),
    [
        ("L1/40", 820.0, "ieee", ("bound 190 us set by memory traffic; 820 us reaches 23% of", "696 GB/s")),
        ("L1/40", 300.0, "ieee", ("63%", "of 3,010 GB/s", "Memory is the limit")),
        ("L1/40", 200.0, "ieee", ("95%", "only by less memory work")),
        ("L1/40", 180.0, "ieee", ("105%", "At the bound")),
        ("L2/17", 4947.0, "tf32", ("bound 814 us set by tf32 arithmetic", "60.6 TFLOP/s", "units wait")),
        ("L2/17", 1200.0, "tf32", ("68%", "Arithmetic is the limit")),
        ("L2/17", 1200.0, "fp16", ("bound 524 us set by memory traffic", "44%", "Far from")),
    ],
)  # fmt: skip
def test_a_position_in_words(
    task: str, latency_us: float, precision: Precision, words: tuple[str, ...]
) -> None:
    text = position(KERNELBENCH[task], latency_us, H100, precision)
    assert [word for word in words if word not in text] == []


def test_a_short_kernel_is_told_about_launches() -> None:
    tiny = workload((tensor("x", 64, 64),), (), tensor("y", 64, 64), 0)
    assert "fewer launches" in position(tiny, 5.0, H100, "ieee")


def test_without_ceilings_only_what_was_achieved_is_said() -> None:
    text = position(KERNELBENCH["L1/40"], 820.0, None, "ieee")
    assert text == "570 MB in 820 us is 696 GB/s."
    assert "TFLOP/s" in position(KERNELBENCH["L1/1"], 820.0, None, "ieee")


def test_the_limit_is_the_larger_of_the_two() -> None:
    assert Bound(2.0, 1.0).limit == "memory"
    assert Bound(1.0, 2.0).limit == "arithmetic"
    assert Bound(1.0, 2.0).bound_us == 2.0


def test_units() -> None:
    assert [bytes_text(n) for n in (0, 12, 2048, 99_960, 268_435_456, 1.5e10)] == [
        "0 B", "12 B", "2.05 KB", "100 KB", "268 MB", "15 GB",
    ]  # fmt: skip
    assert [flops_text(n) for n in (7, 5e3, 3e11, 1.2e13)] == ["7 FLOP", "5 KFLOP", "300 GFLOP", "12 TFLOP"]
    assert [us_text(n) for n in (0.1234, 4.289, 99.96, 14240.4)] == [
        "0.123 us",
        "4.29 us",
        "100 us",
        "14,240 us",
    ]
