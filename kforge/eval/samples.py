"""Statistics over timed samples: medians, their confidence, the verdict. No clock is read here.

Order-statistic confidence interval of a median: the binomial argument of Conover, Practical
Nonparametric Statistics, section 3.2. The speedup is told from pairs (``stopping``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kforge.types import Samples, Verdict

SAME_BAND = 0.02
# Nobody is called faster or slower for less: two runs of one kernel differ by that for reasons of place.
CALLED = 0.005
FLOOR_SHARE = 0.1


def summarise(samples_us: Sequence[float]) -> Samples:
    """Median, spread and the 95 % interval of the median.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(samples_us) < 2:
        raise ValueError(f"{len(samples_us)} samples are too few for a median with an interval")
    ordered = np.sort(np.asarray(samples_us, dtype=np.float64))
    n = len(ordered)
    median = float(np.median(ordered))
    half_width = 0.98 * math.sqrt(n)
    low = max(0, math.floor(n / 2 - half_width))
    high = min(n - 1, math.ceil(n / 2 + half_width))
    p10, p90 = (float(v) for v in np.percentile(ordered, (10, 90)))
    return Samples(
        n=n,
        median_us=median,
        p10_us=p10,
        p90_us=p90,
        noise=(p90 - p10) / median if median > 0 else 0.0,
        ci_low_us=float(ordered[low]),
        ci_high_us=float(ordered[high]),
    )


def verdict(low: float, high: float, floor_us: float, candidate_us: float) -> Verdict:
    """Words for an interval of the speedup.

    Args:
        low: lower end of the interval.
        high: upper end.
        floor_us: cost of an empty request, already subtracted from ``candidate_us``.
        candidate_us: the candidate's median.
    """
    if floor_us > FLOOR_SHARE * candidate_us:
        return "AMBIGUOUS"
    return words(low, high)


def words(low: float, high: float) -> Verdict:
    """Words for an interval of the speedup, whatever the floor: FAST or SLOW if it leaves 1 by 0.5 %."""
    if low > 1.0 + CALLED:
        return "FAST"
    if high < 1.0 - CALLED:
        return "SLOW"
    return "SAME" if low > 1.0 - SAME_BAND and high < 1.0 + SAME_BAND else "AMBIGUOUS"
