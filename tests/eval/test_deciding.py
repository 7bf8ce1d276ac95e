"""Trials that tell the declared precision from a cheaper one, and what is left that none of them tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kforge.eval.check import Agreement, Mismatch, Truth, fit_to_judge, judge, truths
from kforge.eval.deciding import DECIDING, decides
from kforge.eval.inputs import TRIALS, generator, transform, trials
from kforge.types import Precision
from tests.eval import honest
from tests.eval.test_precision import to_bfloat, to_half

RIGHT = torch.rand(256, 64, generator=generator(21))


def uniform(*shape: int, seed: int = 3) -> Tensor:
    return torch.rand(shape, generator=generator(seed))


def cancelling(*shape: int) -> Tensor:
    return transform(uniform(*shape), "real", "cancelling", generator(4))


def error_of(output: Tensor, truth: Truth) -> float:
    found = judge(output, truth, "the output").max_error
    assert found is not None
    return found


def truth_of(exact: Tensor, eager: Tensor) -> Truth:
    return truths(lambda: [exact], [eager], "ieee", generator(5))[0]


@pytest.mark.parametrize("dims", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_pairs_cancel_in_a_sum_over_any_dimension(dims: tuple[int, ...]) -> None:
    x = cancelling(8, 9, 10)
    kept = x.double().sum(dims).abs().mean() / x.double().abs().sum(dims).mean()
    assert 0 < kept < 1e-3
    for rounded in (to_half(x), to_bfloat(x)):
        assert float(rounded.double().sum(dims).abs().max()) == 0.0


@pytest.mark.parametrize("length", [1 << 20, pytest.param(1 << 23, marks=pytest.mark.slow)])
def test_long_sums_in_order_pass_and_rounded_ones_do_not(length: int) -> None:
    x = cancelling(1, length)
    truth = truths(lambda: [x.double().sum(1)], [x.sum(1)], "ieee", generator(5))[0]
    assert isinstance(judge(honest.total(x), truth, "o"), Agreement)
    assert error_of(to_half(x).sum(1), truth) > DECIDING
    assert error_of(to_bfloat(x).sum(1), truth) > DECIDING


@pytest.mark.parametrize("length", [1 << 20, pytest.param(1 << 22, marks=pytest.mark.slow)])
@pytest.mark.parametrize("distribution", ["own", "heavy", "wide"])
def test_long_honest_sums_pass_on_other_values_too(length: int, distribution: str) -> None:
    x = transform(uniform(1, length), "real", distribution, generator(4))  # type: ignore[arg-type]
    truth = truths(lambda: [x.double().sum(1)], [x.sum(1)], "ieee", generator(5))[0]
    assert isinstance(judge(honest.total(x), truth, "o"), Agreement)


def test_rounded_inputs_of_a_mean_squared_error_no_longer_pass() -> None:
    """They passed on every distribution: errors of rounding average out. Nearly equal inputs show them."""
    x = cancelling(128, 1024)
    target = transform(uniform(128, 1024, seed=6), "real", "cancelling", generator(7), x)
    truth = truths(
        lambda: [((x.double() - target.double()) ** 2).mean()], [functional.mse_loss(x, target)],
        "ieee", generator(5),
    )[0]  # fmt: skip
    rest = (x - target).reshape(-1)
    assert isinstance(judge(honest.total(rest * rest) / rest.numel(), truth, "o"), Agreement)
    assert error_of(functional.mse_loss(to_half(x), to_half(target)), truth) > DECIDING


def test_wide_rows_leave_the_range_of_half_and_of_nothing_else() -> None:
    x = transform(uniform(64, 256), "real", "wide", generator(4))
    assert not bool(torch.isfinite(x.half()).all())
    assert bool(torch.isfinite(x.bfloat16()).all())
    assert bool(torch.isfinite(x**2).all())
    assert bool((x == 0).any())
    assert bool(torch.signbit(x[x == 0]).all())
    assert bool(((x.abs() < 2.0**-126) & (x != 0)).any())
    truth = truths(lambda: [x.double() @ RIGHT.double()], [x @ RIGHT], "ieee", generator(5))[0]
    assert isinstance(judge(honest.matmul(x, RIGHT), truth, "o"), Agreement)
    half = judge((x.half().float() @ RIGHT), truth, "o")
    assert isinstance(half, Mismatch)
    assert half.kind == "non_finite"


def rounded_to(x: Tensor, bits: int) -> Tensor:
    scale = 2.0 ** (23 - bits)
    whole = (x.view(torch.int32) + int(scale / 2)) & ~(int(scale) - 1)
    return whole.view(torch.float32)


def test_declared_tf32_is_accepted_at_tf32_and_nowhere_else() -> None:
    for distribution in trials("tf32"):
        x = transform(uniform(64, 256), "real", distribution, generator(4))
        output = rounded_to(x, 10) @ rounded_to(RIGHT, 10)
        found: dict[Precision, bool] = {}
        for precision in ("tf32", "ieee"):
            declared: Precision = "tf32" if precision == "tf32" else "ieee"
            truth = truths(
                lambda x=x: [x.double() @ RIGHT.double()],  # type: ignore[misc]
                [x @ RIGHT],
                declared,
                generator(5),
            )[0]
            found[declared] = isinstance(judge(output, truth, "o"), Agreement)
        assert found["tf32"]
        if distribution != "own":
            assert not found["ieee"], distribution


def test_who_decides() -> None:
    """Rounding decides a signed product at ieee, and where nothing is cheaper nothing is to decide."""

    def run(inputs: Sequence[object], state: Mapping[str, Tensor]) -> list[Tensor]:
        first = inputs[0]
        assert isinstance(first, Tensor)
        return [first.double() @ state["w"].double() if state else first.double() * 2]

    x = transform(uniform(64, 256), "real", "heavy", generator(4))
    truth = truths(lambda: run([x], {"w": RIGHT}), [x @ RIGHT], "ieee", generator(5))
    assert decides([x], {"w": RIGHT}, truth, "ieee", run)
    assert not decides([x], {"w": RIGHT}, truth, "bf16", run)
    whole = [torch.ones(4, 4)]  # what every type holds exactly decides nothing
    exact = truths(lambda: [whole[0].double() * 2], [whole[0] * 2], "ieee", generator(5))
    assert not decides(whole, {}, exact, "ieee", run)


def test_distributions_that_say_nothing_at_a_precision_are_left_out() -> None:
    assert trials("ieee") == TRIALS
    assert "cancelling" not in trials("tf32")
    assert "wide" not in trials("fp16")
    assert all(trials(p)[0] == "own" for p in ("ieee", "tf32", "fp16", "bf16"))


@pytest.mark.parametrize("size", [10.0, 100.0, 1000.0])
def test_a_softmax_right_after_a_product_with_large_logits(size: float) -> None:
    """Honest sums in order of either direction pass, or the trial is refused as ill-conditioned."""
    for seed in range(6):
        x = torch.randn(256, 256, generator=generator(30 + seed)) * size / 16
        w = torch.randn(256, 64, generator=generator(60 + seed))
        eager = torch.softmax(x @ w, 1)
        truth = truths(
            lambda x=x, w=w: [torch.softmax(x.double() @ w.double(), 1)],  # type: ignore[misc]
            [eager],
            "ieee",
            generator(seed),
        )[0]
        if not fit_to_judge(eager, truth, own=False):
            continue
        for output in (
            honest.softmax(honest.matmul(x, w)),
            honest.softmax(honest.matmul(x.flip(1), w.flip(0))),
        ):
            assert isinstance(judge(output, truth, "o"), Agreement), (size, seed)


def test_an_ill_conditioned_draw_is_refused_unless_it_is_the_tasks_own() -> None:
    x = torch.randn(64, 512, generator=generator(8)) * 2.0**24
    w = torch.randn(512, 512, generator=generator(9))
    eager = torch.softmax(x @ w, 1)
    truth = truths(lambda: [torch.softmax(x.double() @ w.double(), 1)], [eager], "ieee", generator(5))[0]
    steep = truth.__class__(truth.exact, truth.spread_rms, truth.spread_max + 0.2, truth.eager)
    assert not fit_to_judge(truth.exact.float(), steep, own=False)
    assert fit_to_judge(truth.exact.float(), steep, own=True)


def test_flushed_denormals_are_right() -> None:
    x = torch.tensor([1.0, 2.0**-130, -(2.0**-140)])
    truth = truth_of(torch.relu(x.double()), torch.relu(x))
    assert isinstance(judge(torch.tensor([1.0, 0.0, 0.0]), truth, "o"), Agreement)
    assert isinstance(judge(torch.tensor([1.0, 1e-30, 0.0]), truth, "o"), Mismatch)


def test_any_position_of_equal_values_is_right_and_no_other() -> None:
    x = torch.tensor([[1.0, 5.0, 5.0, 0.0], [7.0, 2.0, 7.0, 7.0]])
    for name in ("argmax", "max", "computed"):

        def run(v: Tensor, name: str = name) -> Tensor:
            found = v.max(1).indices if name == "max" else v.argmax(1)
            return found * 1 if name == "computed" else found

        truth = truths(lambda: [run(x.double())], [run(x)], "ieee", generator(1))[0]
        direct = truth.pointed is not None
        assert direct == (name != "computed")
        last = judge(torch.tensor([2, 3]), truth, "o")
        assert isinstance(last, Agreement) == direct
        assert isinstance(judge(torch.tensor([0, 3]), truth, "o"), Mismatch)
        assert isinstance(judge(torch.tensor([4, 3]), truth, "o"), Mismatch)
        assert isinstance(judge(torch.tensor([-1, 3]), truth, "o"), Mismatch)
