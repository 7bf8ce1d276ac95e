"""Draws stay inside what their kind allows, and each distribution is another one."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from kforge.eval.inputs import TRIALS, Distribution, generator, transform
from kforge.eval.state import perturb_constants
from kforge.types import InputKind

ADVERSARIAL: tuple[Distribution, ...] = tuple(d for d in get_args(Distribution) if d != "own")


def test_trials_cover_every_distribution_and_begin_with_the_own() -> None:
    assert len(TRIALS) >= 5
    assert TRIALS[0] == "own"
    assert set(TRIALS) == set(get_args(Distribution))


@pytest.mark.parametrize("distribution", ADVERSARIAL)
def test_probability_rows_stay_probabilities(distribution: Distribution) -> None:
    own = torch.softmax(torch.rand(32, 100, generator=generator(1)), 1)
    found = transform(own, "probability", distribution, generator(2))
    assert not torch.equal(found, own)
    assert bool((found > 0).all())
    assert torch.allclose(found.sum(1), torch.ones(32), atol=1e-5)


@pytest.mark.parametrize("distribution", ADVERSARIAL)
@pytest.mark.parametrize("kind", ["index", "sign", "mask", "fixed"])
def test_values_with_a_meaning_stay_as_they_are(kind: InputKind, distribution: Distribution) -> None:
    whole = torch.randint(0, 10, (64,), generator=generator(1))
    found = transform(whole, kind, distribution, generator(2))
    assert torch.equal(found, whole)
    signs = torch.where(torch.rand(64, generator=generator(3)) < 0.5, -1.0, 1.0)
    assert torch.equal(transform(signs, kind, distribution, generator(2)), signs)


@pytest.mark.parametrize("distribution", ADVERSARIAL)
def test_positive_stays_positive(distribution: Distribution) -> None:
    found = transform(torch.rand(64, 64, generator=generator(1)), "positive", distribution, generator(2))
    assert bool((found > 0).all())


def test_every_distribution_differs_and_does_what_it_says() -> None:
    own = torch.rand(64, 4096, generator=generator(1))
    found = {d: transform(own, "real", d, generator(2)) for d in get_args(Distribution)}
    assert torch.equal(found["own"], own)
    names = list(found)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert not torch.equal(found[first], found[second])
    assert float(found["scaled"].mean(1).std()) > 0.3
    assert float(found["heavy"].abs().max() / found["heavy"].std()) > 20
    assert 0.4 < float((found["sparse"] == 0).double().mean()) < 0.6
    assert bool((found["sparse"] < 0).any())


def test_half_precision_keeps_its_type_and_other_seeds_give_other_values() -> None:
    own = torch.rand(8, 8, generator=generator(1)).half()
    first = transform(own, "real", "heavy", generator(2))
    assert first.dtype == torch.float16
    assert torch.equal(first, transform(own, "real", "heavy", generator(2)))
    assert not torch.equal(first, transform(own, "real", "heavy", generator(3)))


def test_constant_parameters_are_perturbed_and_buffers_are_not() -> None:
    model = nn.Module()
    model.gamma = nn.Parameter(torch.ones(8))
    model.same = model.gamma
    model.weight = nn.Parameter(torch.rand(8, generator=generator(1)))
    model.register_buffer("mean", torch.zeros(8), persistent=False)
    found = perturb_constants(model, generator(2))
    assert set(found) == {"gamma", "same", "weight", "mean"}
    assert not torch.equal(found["gamma"], torch.ones(8))
    assert torch.equal(found["gamma"], found["same"])  # tied stays tied
    assert torch.equal(found["mean"], torch.zeros(8))
    assert torch.equal(found["weight"], model.weight)
    assert torch.equal(model.gamma, torch.ones(8))


def test_a_transposed_input_stays_transposed() -> None:
    own = torch.rand(4, 8, generator=generator(1)).t()
    for distribution in get_args(Distribution):
        assert transform(own, "real", distribution, generator(2)).stride() == own.stride()
