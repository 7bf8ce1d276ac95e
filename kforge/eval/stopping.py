"""How a speedup is told from pairs of samples, and when there are enough of them. No clock is read here.

A pair is one sample of the baseline and one of the candidate, taken beside each other. The logarithms of
their ratios are looked at, so what both sides share (a card that warms up, another program) cancels pair by
pair. The point is the Hodges-Lehmann estimate, the median of all means of two; its interval cuts as many of
those means at either end as Wilcoxon's signed-rank statistic allows (Hollander and Wolfe, Nonparametric
Statistical Methods, 3.1 to 3.3). It asks of the noise only that a pair's two samples could have changed
places: times with two modes, which make medians jump, with outliers or with a long tail do no harm.

Neighbouring pairs may be alike. Their correlation stretches the interval by the root of (1 + r) / (1 - r),
as for an autoregressive series. Looking several times costs coverage, so an interval of 97 % is computed
where 95 % are stated, and looks are few: each wants 1.4 times as many pairs as the last.
``benchmarks/stopping_rules.py`` measures how often the interval holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Two-sided 97 % of the normal distribution.
_Z = 2.170
LOOK_FACTOR = math.sqrt(2.0)
# More would say that no pair tells anything of its neighbour's noise.
_MOST_CORRELATED = 0.9

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Baseline over candidate.

    Attributes:
        speedup: above 1 where the candidate is faster.
        low: lower end of the 95 % interval.
        high: upper end.
        pairs: how many it was told from.
        correlation: of neighbouring pairs' ranks, 0 to 0.9; the interval has been stretched by it.
        steady: whether the first half and the second agree; if not, the interval holds both.
    """

    speedup: float
    low: float
    high: float
    pairs: int
    correlation: float
    steady: bool

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the speedup."""
        return (self.high - self.low) / 2 / self.speedup


def ratio(baseline_us: Sequence[float], candidate_us: Sequence[float], *, tick_us: float = 0.0) -> Ratio:
    """Tell the speedup from pairs.

    Args:
        baseline_us: one sample of every pair, positive.
        candidate_us: the other, positive.
        tick_us: resolution of the clock: times that are all alike are still known to a tick only.

    Raises:
        ValueError: fewer than two pairs, or a time that is not positive.
    """
    base = np.asarray(baseline_us, dtype=np.float64)
    candidate = np.asarray(candidate_us, dtype=np.float64)
    if len(base) != len(candidate) or len(base) < 2:
        raise ValueError(f"{len(base)} and {len(candidate)} samples make too few pairs for an interval")
    if not (base > 0).all() or not (candidate > 0).all():
        raise ValueError("a sample of no or negative time has no ratio")
    logs = np.log(base / candidate)
    correlation = _correlation(logs)
    middle, low, high = _located(logs, math.sqrt((1 + correlation) / (1 - correlation)))
    steady = True
    if len(logs) >= 8:
        halves = [_located(half, 1.0) for half in (logs[: len(logs) // 2], logs[len(logs) // 2 :])]
        steady = halves[0][1] <= halves[1][2] and halves[1][1] <= halves[0][2]
        if not steady:
            low, high = min(low, *(h[0] for h in halves)), max(high, *(h[0] for h in halves))
    blur = tick_us / 2 / float(np.median(base)) + tick_us / 2 / float(np.median(candidate))
    return Ratio(
        speedup=math.exp(middle),
        low=math.exp(low - blur),
        high=math.exp(high + blur),
        pairs=len(logs),
        correlation=correlation,
        steady=steady,
    )


def _located(values: _Floats, stretch: float) -> tuple[float, float, float]:
    """Hodges-Lehmann estimate and the ends of its interval, stretched about it."""
    first, second = np.triu_indices(len(values))
    means = np.sort((values[first] + values[second]) / 2)
    n = len(values)
    middle_rank, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    cut = min(max(0, math.floor(middle_rank - _Z * spread)), (len(means) - 1) // 2)
    middle = float(np.median(means))
    low, high = float(means[cut]), float(means[-1 - cut])
    return middle, middle - (middle - low) * stretch, middle + (high - middle) * stretch


def _correlation(values: _Floats) -> float:
    """Of neighbours' ranks, so that no outlier makes or hides it; corrected for its bias of -1/n."""
    # Equal values share one rank, or their order in time would be theirs.
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    ranks -= ranks.mean()
    total = float(ranks @ ranks)
    if total == 0.0:
        return 0.0
    found = float(ranks[1:] @ ranks[:-1]) / total + 1 / len(values)
    return min(max(0.0, found), _MOST_CORRELATED)


@dataclass(frozen=True, slots=True)
class Rule:
    """When there are enough pairs.

    Attributes:
        least: pairs before the first look.
        most: pairs at which sampling ends, settled or not.
        target: half of the interval's width, as a share of the speedup, that is narrow enough.
    """

    least: int
    most: int
    target: float

    def __post_init__(self) -> None:
        """Refuse rules that cannot be followed."""
        if not 2 <= self.least <= self.most or self.target <= 0:
            raise ValueError(f"no rule: {self}")

    def looks_at(self, pairs: int) -> bool:
        """Whether the samples are looked at when there are so many pairs."""
        if pairs >= self.most:
            return True
        look = float(self.least)
        while round(look) < pairs:
            look *= LOOK_FACTOR
        return round(look) == pairs

    def settled(self, found: Sequence[Ratio]) -> bool:
        """Whether every ratio that is wanted is known well enough, and stays where it is."""
        return all(r.half_width < self.target and r.steady for r in found)
