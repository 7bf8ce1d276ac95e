"""Statistics of samples against what can be computed by hand, and the words for an interval."""

from __future__ import annotations

import numpy as np
import pytest

from kforge.eval.samples import summarise, verdict


def test_summary_of_known_samples() -> None:
    found = summarise([float(v) for v in range(101)])
    assert (found.n, found.median_us, found.p10_us, found.p90_us) == (101, 50.0, 10.0, 90.0)
    assert found.noise == pytest.approx(1.6)
    assert found.ci_low_us < 50.0 < found.ci_high_us


def test_one_sample_has_no_interval() -> None:
    with pytest.raises(ValueError, match="too few"):
        summarise([1.0])


def test_the_interval_of_the_median_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    draws = [summarise(rng.lognormal(0.0, 0.5, 31).tolist()) for _ in range(600)]
    covered = sum(d.ci_low_us <= 1.0 <= d.ci_high_us for d in draws) / len(draws)
    assert covered > 0.93


@pytest.mark.parametrize(
    ("low", "high", "floor_us", "word"),
    [
        (1.5, 1.7, 0.0, "FAST"),
        (0.5, 0.7, 0.0, "SLOW"),
        (0.99, 1.01, 0.0, "SAME"),
        (0.8, 1.3, 0.0, "AMBIGUOUS"),
        (0.979, 0.984, 0.0, "SLOW"),  # within the band of SAME, and known to be slower all the same
        (1.001, 1.004, 0.0, "SAME"),  # known to differ, by less than two places in memory do
        (1.001, 1.03, 0.0, "AMBIGUOUS"),
        (1.5, 1.7, 50.0, "AMBIGUOUS"),
    ],
)
def test_words_for_an_interval(low: float, high: float, floor_us: float, word: str) -> None:
    assert verdict(low, high, floor_us, 100.0) == word
