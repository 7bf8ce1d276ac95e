"""The allowance: honest fp32 passes on every distribution, everything cheaper or wrong does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kforge.eval.check import Agreement, Mismatch, Truth, judge, truths
from kforge.eval.inputs import Distribution, generator, transform
from kforge.eval.precision_model import round_to, sequential_sum
from tests.eval import honest

Compute = Callable[[Tensor], Tensor]
DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)
RIGHT = torch.rand(1024, 64, generator=generator(11))
WEIGHT = torch.rand(32, 16, 3, 3, generator=generator(12)) * 0.16 - 0.08
BIAS = torch.rand(32, generator=generator(13)) * 0.1
TARGET = torch.randn(128, 1024, generator=generator(14))


def conv_norm(x: Tensor) -> Tensor:
    return functional.instance_norm(functional.conv2d(x, WEIGHT.to(x), BIAS.to(x))) / 2


def squares(x: Tensor) -> Tensor:
    return ((x - TARGET) ** 2).reshape(-1)


@dataclass(frozen=True)
class Case:
    reference: Compute
    honest: Compute
    shape: tuple[int, ...]


CASES = {
    "sum": Case(lambda x: x.sum(1), honest.total, (64, 4096)),
    "sum to a scalar": Case(torch.sum, lambda x: honest.total(x.reshape(-1)), (1 << 20,)),
    "dot": Case(lambda x: torch.dot(x, x.flip(0)), lambda x: honest.total(x * x.flip(0)), (1 << 16,)),
    "matmul": Case(lambda x: x @ RIGHT.to(x), lambda x: honest.matmul(x, RIGHT), (64, 1024)),
    "softmax": Case(lambda x: torch.softmax(x, 1), honest.softmax, (64, 4096)),
    "online softmax": Case(lambda x: torch.softmax(x, 1), honest.online_softmax, (64, 1024)),
    "log softmax": Case(
        lambda x: torch.log_softmax(x, 1), lambda x: torch.log(honest.softmax(x).clamp_min(1e-30)), (64, 64)
    ),
    "layer norm": Case(lambda x: functional.layer_norm(x, x.shape[1:]), honest.layer_norm, (4, 64, 32, 32)),
    "instance norm": Case(functional.instance_norm, honest.instance_norm, (4, 16, 64, 64)),
    "conv and norm": Case(
        conv_norm, lambda x: honest.instance_norm(honest.convolution(x, WEIGHT, BIAS)) / 2, (8, 16, 32, 32)
    ),
    "mean squares": Case(
        lambda x: torch.mean((x - TARGET.to(x)) ** 2),
        lambda x: honest.total(squares(x)) / x.numel(),
        (128, 1024),
    ),
    "cumsum": Case(
        lambda x: torch.cumsum(x, 1),
        lambda x: torch.stack([honest.total(x[:, : i + 1]) for i in range(512)], 1),
        (64, 512),
    ),
}  # fmt: skip


def drawn(case: Case, distribution: Distribution, seed: int = 7) -> Tensor:
    rng = generator(seed)
    return transform(torch.rand(case.shape, generator=rng), "real", distribution, rng)


def truth_of(case: Case, x: Tensor) -> Truth:
    return truths(lambda: [case.reference(x.double())], [case.reference(x)], "ieee", generator(5))[0]


def judged(case: Case, x: Tensor, output: Tensor) -> Agreement | Mismatch:
    return judge(output, truth_of(case, x), "the output")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", [n for n in CASES if n != "log softmax"])
def test_a_slow_honest_algorithm_passes_with_room(name: str, distribution: Distribution) -> None:
    case = CASES[name]
    x = drawn(case, distribution)
    found = judged(case, x, case.honest(x))
    assert isinstance(found, Agreement), found
    assert found.max_error < 0.8


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", CASES)
def test_eager_lies_within_its_own_band(name: str, distribution: Distribution) -> None:
    case = CASES[name]
    x = drawn(case, distribution)
    assert isinstance(judged(case, x, case.reference(x)), Agreement)


def to_half(x: Tensor) -> Tensor:
    return x.half().float()


def to_bfloat(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def affine(x: Tensor) -> Tensor:
    """Normalisation with the moments of U(0, 1) written in."""
    return (x - 0.5) * 12**0.5


def every(step: int) -> Compute:
    return lambda x: squares(x)[::step].mean()


WRONG: dict[str, tuple[str, Compute]] = {
    "fp16 operands": ("matmul", lambda x: to_half(x) @ to_half(RIGHT)),
    "bf16 operands": ("matmul", lambda x: to_bfloat(x) @ to_bfloat(RIGHT)),
    "fp16 convolution": (
        "conv and norm",
        lambda x: functional.instance_norm(functional.conv2d(to_half(x), to_half(WEIGHT), BIAS)) / 2,
    ),
    "fp16 output": ("softmax", lambda x: to_half(torch.softmax(x, 1))),
    "one row late": ("matmul", lambda x: torch.roll(x @ RIGHT, 1, 0)),
    "zeros": ("matmul", lambda x: torch.zeros(64, 64)),
    "constant": ("softmax", lambda x: torch.full_like(x, 1 / x.shape[1])),
    "zeros for a norm": ("instance norm", torch.zeros_like),
    "copy of the input": ("instance norm", torch.clone),
    "known moments, layer norm": ("layer norm", affine),
    "known moments, instance norm": ("instance norm", affine),
    "no eps": ("conv and norm", lambda x: functional.instance_norm(conv_norm(x) * 2 * 0.1, eps=0.0) / 2),
    "1 % of a loss": ("mean squares", every(100)),
    "10 % of a loss": ("mean squares", every(10)),
    "1 % of a sum": ("sum to a scalar", lambda x: x[::100].sum() * (x.numel() / x[::100].numel())),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_or_cheaper_is_rejected_on_some_distribution(name: str) -> None:
    """All trials must pass, so one that fails is enough; the own distribution alone may be too kind."""
    case_name, compute = WRONG[name]
    case = CASES[case_name]
    found = [judged(case, x, compute(x)) for x in (drawn(case, d) for d in DISTRIBUTIONS)]
    worst = max(f.max_error or 0.0 for f in found)
    assert worst > 2.0, found


@pytest.mark.parametrize("name", CASES)
def test_the_output_for_another_seed_is_rejected(name: str) -> None:
    case = CASES[name]
    x = drawn(case, "own")
    found = judged(case, x, case.reference(drawn(case, "own", seed=8)))
    assert isinstance(found, Mismatch), found


@pytest.mark.parametrize("name", ["matmul", "instance norm", "conv and norm"])
def test_one_wrong_element_is_rejected(name: str) -> None:
    case = CASES[name]
    x = drawn(case, "own")
    output = case.reference(x).clone().reshape(-1)
    at = int(output.abs().argmax())
    output[at] *= 1.001
    found = judged(case, x, output.reshape(case.reference(x).shape))
    assert isinstance(found, Mismatch)
    assert found.kind == "mismatch"
    assert "got" in found.reason


def test_one_wrong_element_among_a_million_elementwise() -> None:
    case = Case(torch.relu, torch.relu, (1024, 1024))
    x = drawn(case, "own")
    output = torch.relu(x)
    output[700, 3] *= 1 + 1e-5
    found = judged(case, x, output)
    assert isinstance(found, Mismatch)
    assert "(700, 3)" in found.reason


def test_declaring_fp16_allows_fp16_operands_and_nothing_wrong() -> None:
    case = CASES["matmul"]
    x = drawn(case, "scaled")
    truth = truths(lambda: [case.reference(x.double())], [case.reference(x)], "fp16", generator(5))[0]
    assert isinstance(judge(to_half(x) @ to_half(RIGHT), truth, "o"), Agreement)
    assert isinstance(judge((x @ RIGHT) * 1.01, truth, "o"), Mismatch)


def test_masks_and_integers_are_exact() -> None:
    x = torch.tensor([1.0, float("inf"), float("nan")])
    same = truths(lambda: [x.double()], [x], "ieee", generator(1))[0]
    assert isinstance(judge(x.clone(), same, "o"), Agreement)
    other = judge(torch.tensor([1.0, -float("inf"), float("nan")]), same, "o")
    assert isinstance(other, Mismatch)
    assert other.kind == "non_finite"
    whole = torch.arange(5)
    integers = truths(lambda: [whole], [whole], "ieee", generator(1))[0]
    assert isinstance(judge(whole.clone(), integers, "o"), Agreement)
    assert isinstance(judge(whole + (whole == 3), integers, "o"), Mismatch)


def test_rounding_to_fewer_bits_is_what_the_types_do() -> None:
    values = torch.randn(4096, generator=generator(3)).double()
    assert torch.equal(round_to(values, 2.0**-8).float(), values.to(torch.bfloat16).float())


def test_the_sequential_sum_loses_what_fp32_loses() -> None:
    rows = torch.cat([torch.full((2, 1), 2.0**25), torch.ones(2, 5)], 1)
    assert sequential_sum(rows).tolist() == [2.0**25, 2.0**25]
    long = torch.rand(3, 1 << 21, generator=generator(4))
    assert torch.equal(sequential_sum(long), honest.total(long).double())
