"""When samples are enough and what they say: made streams whose truth is known, and what holds of any."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stopping_rules import STREAMS, Floats, one, ours
from kforge.eval.stopping import Ratio, Rule, ratio

SCREEN, RECORD = Rule(10, 100, 0.01), Rule(20, 400, 0.003)
RUNS = 150
TIMES = st.lists(st.floats(1.0, 1e6), min_size=2, max_size=40)


def held(name: str, rule: Rule, truth: float = 1.0) -> tuple[float, float]:
    """Shares of runs whose interval held the truth, and that called the kernel slower."""
    rng = np.random.default_rng(7)
    found = [one(STREAMS[name], rule, ours, rng, truth) for _ in range(RUNS)]
    return (
        float(np.mean([low <= truth <= high for low, high, _ in found])),
        float(np.mean([high < 0.995 for _, high, _ in found])),
    )


@pytest.mark.parametrize("name", [name for name in STREAMS if "remembers" not in name])
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    """However often the rule looked before it stopped."""
    assert held(name, SCREEN)[0] >= 0.93
    assert held(name, RECORD)[0] >= 0.93


def test_a_strong_memory_of_each_side_costs_some_of_it() -> None:
    """The known limit of the correction, stated in docs/evaluation.md."""
    assert held("each remembers itself (AR 0.6)", RECORD)[0] >= 0.8


@pytest.mark.parametrize("name", list(STREAMS))
def test_two_percent_slower_is_called_slower_at_record_quality(name: str) -> None:
    assert held(name, RECORD, truth=1 / 1.02)[1] >= 0.95
    assert held(name, RECORD)[1] <= 0.02


def streams(change: Callable[[Floats], Floats]) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(11)
    base, candidate = (100.0 * np.exp(0.003 * rng.standard_normal(60)) for _ in range(2))
    return base.tolist(), change(candidate).tolist()


def test_a_candidate_that_slows_down_on_its_way_is_not_steady() -> None:
    base, candidate = streams(lambda c: np.where(np.arange(len(c)) < 30, c, 1.05 * c))
    found = ratio(base, candidate)
    assert not found.steady
    assert found.low <= 1 / 1.05 * 1.002
    assert found.high >= 0.998
    assert not SCREEN.settled([found])


def test_a_card_that_throttles_under_both_sides_says_nothing_of_their_ratio() -> None:
    slow = np.where(np.arange(60) % 20 < 10, 1.0, 1.4)
    base, candidate = streams(lambda c: c * slow)
    found = ratio((np.asarray(base) * slow).tolist(), candidate)
    assert found.low <= 1.0 <= found.high
    assert found.half_width < 0.005


def test_outliers_on_one_side_move_nothing() -> None:
    calm = ratio(*streams(lambda c: c))
    wild = ratio(*streams(lambda c: np.where(np.arange(len(c)) % 15 == 0, 50 * c, c)))
    assert wild.speedup == pytest.approx(calm.speedup, rel=0.002)


def test_times_that_are_all_alike_are_known_to_a_tick() -> None:
    found = ratio([3.2] * 10, [3.2] * 10, tick_us=0.032)
    assert (found.speedup, found.steady, found.correlation) == (1.0, True, 0.0)
    assert found.low == pytest.approx(0.99, abs=1e-4)
    assert found.high == pytest.approx(1.01, abs=2e-4)


@pytest.mark.parametrize(
    ("base", "candidate"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0]), ([1.0, -1.0], [1.0, 1.0])],
)
def test_what_has_no_ratio(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs|ratio"):
        ratio(base, candidate)


@given(TIMES, st.floats(0.01, 100.0), st.randoms(use_true_random=False))
def test_the_interval_holds_the_point_and_knows_no_unit(
    times: list[float], unit: float, random: object
) -> None:
    other = list(times)
    random.shuffle(other)  # type: ignore[attr-defined]
    found = ratio(times, other)
    assert found.low <= found.speedup <= found.high
    turned = ratio(other, times)
    assert turned.speedup == pytest.approx(1 / found.speedup, rel=1e-6)
    assert (turned.low, turned.high) == pytest.approx((1 / found.high, 1 / found.low), rel=1e-6)
    scaled = ratio([unit * t for t in times], [unit * t for t in other])
    assert (scaled.low, scaled.high) == pytest.approx((found.low, found.high), rel=1e-6)


@given(st.integers(2, 50), st.integers(0, 400))
def test_looks_begin_at_the_least_end_at_the_most_and_are_few(least: int, more: int) -> None:
    rule = Rule(least, least + more, 0.01)
    looks = [n for n in range(1, rule.most + 1) if rule.looks_at(n)]
    assert looks[0] == least
    assert looks[-1] == rule.most
    assert len(looks) <= 4 + 2 * np.log2(rule.most / least)


def test_it_is_settled_when_all_ratios_are() -> None:
    narrow, wide = Ratio(2.0, 1.99, 2.01, 10, 0.0, True), Ratio(2.0, 1.9, 2.1, 10, 0.0, True)
    assert SCREEN.settled([narrow])
    assert not SCREEN.settled([narrow, wide])


@pytest.mark.parametrize("rule", [(1, 10, 0.01), (10, 5, 0.01), (10, 20, 0.0)])
def test_rules_that_cannot_be_followed(rule: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="no rule"):
        Rule(*rule)
