"""What no kernel can beat: bytes that must move, measured on the reference."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.eval.physics import SLACK, least_us, lower_bound, needed_shares


def shares(run: object, *inputs: Tensor) -> list[float]:
    assert callable(run)

    def outputs(values: Sequence[Value]) -> list[Tensor]:
        return [run(*values)]

    before = [x.clone() for x in inputs]
    found = needed_shares(list(inputs), outputs, random.Random(1))
    assert all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True)), "inputs are put back"
    return found


@pytest.mark.parametrize("run", [torch.relu, lambda x: x.max(1)[0], lambda x: x.sum(), lambda x: x * 2])
def test_what_the_answer_depends_on_is_needed(run: object) -> None:
    assert shares(run, torch.randn(64, 300))[0] > 0.9


def test_what_it_does_not_depend_on_is_not() -> None:
    x, y = torch.randn(64, 300), torch.randn(64, 300)
    first, second = shares(lambda x, y: x + 0 * y[:1], x, y)
    assert first > 0.9
    assert second < 0.1
    assert shares(torch.tril, torch.randn(128, 128))[0] < 0.75


def test_the_least_time_counts_reads_once_and_writes_beyond_the_cache() -> None:
    x, out = torch.zeros(1000, 1000), torch.zeros(1000, 500)
    us = least_us([x, 3], [out], [1.0], 1_000_000, 1e9)
    assert us == pytest.approx(SLACK * (4e6 + 1e6) / 1e9 * 1e6)
    assert least_us([x], [out], [1.0], 10_000_000, 1e9) == pytest.approx(SLACK * 4e6 / 1e9 * 1e6)


def test_the_bound_is_the_exact_binomial_one() -> None:
    assert lower_bound(32, 32) == pytest.approx(0.05 ** (1 / 32), abs=1e-6)
    assert lower_bound(0, 32) == 0.0
    assert lower_bound(16, 32) < 0.5
