"""How often does the interval of a speedup hold the truth, and what does knowing it cost?

``python -m benchmarks.stopping_rules`` runs the referee's rule on made streams of pairs whose ratio is known,
beside the rule that kforge had before (ratio of medians, paired bootstrap of 400 draws), both looking at the
same times. Seeded; needs no device.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kforge.eval.stopping import Rule, ratio

Floats = NDArray[np.float64]
Stream = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
CALLED = 0.005


def _each(noise: Callable[[np.random.Generator, int], Floats]) -> Stream:
    return lambda rng, n: (noise(rng, n), noise(rng, n))


def _shared(rng: np.random.Generator, shared: Floats) -> tuple[Floats, Floats]:
    n = len(shared)
    return shared + 0.003 * rng.standard_normal(n), shared + 0.003 * rng.standard_normal(n)


def _series(rng: np.random.Generator, n: int) -> Floats:
    found, noise = np.zeros(n), 0.004 * rng.standard_normal(n)
    for i in range(1, n):
        found[i] = 0.6 * found[i - 1] + noise[i]
    return found


# Logarithms of (baseline, candidate) times, up to their true ratio.
STREAMS: dict[str, Stream] = {
    "normal, 0.5 %": _each(lambda rng, n: 0.005 * rng.standard_normal(n)),
    "heavy tails (t, 2 degrees)": _each(lambda rng, n: 0.003 * rng.standard_t(2, n)),
    "one in twenty 1.6 times as long": _each(
        lambda rng, n: 0.003 * rng.standard_normal(n) + 0.5 * (rng.random(n) < 0.05)
    ),
    "two modes 3 % apart": _each(
        lambda rng, n: 0.002 * rng.standard_normal(n) + 0.03 * (rng.random(n) < 0.5)
    ),
    "only ever longer (exponential)": _each(lambda rng, n: 0.003 * rng.exponential(1.0, n)),
    "both drift by 3 % per 100": lambda rng, n: _shared(rng, np.linspace(0, 0.03 * n / 100, n)),
    "both wander": lambda rng, n: _shared(rng, np.cumsum(0.002 * rng.standard_normal(n))),
    "each remembers itself (AR 0.6)": _each(_series),
}


def bootstrap(base: Floats, candidate: Floats) -> tuple[float, float]:
    """The peer: percentile interval of the ratio of medians."""
    picks = np.random.default_rng(len(base)).integers(0, len(base), size=(400, len(base)))
    ratios = np.median(base[picks], axis=1) / np.median(candidate[picks], axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(low), float(high)


def ours(base: Floats, candidate: Floats) -> tuple[float, float]:
    """The referee's."""
    found = ratio(base.tolist(), candidate.tolist())
    return found.low, found.high


INTERVALS = {"kforge": ours, "median bootstrap": bootstrap}


def one(
    stream: Stream, rule: Rule, interval: Callable[[Floats, Floats], tuple[float, float]],
    rng: np.random.Generator, truth: float,
) -> tuple[float, float, int]:  # fmt: skip
    """Sample until it is enough: the interval's ends, and how many pairs that took."""
    logs = stream(rng, rule.most)
    base, candidate = 100.0 * truth * np.exp(logs[0]), 100.0 * np.exp(logs[1])
    for n in range(rule.least, rule.most + 1):
        if rule.looks_at(n):
            low, high = interval(base[:n], candidate[:n])
            if (high - low) / (high + low) < rule.target:
                return low, high, n
    return low, high, n


def main() -> None:
    """Print one table per rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(f"{chosen.runs} runs a cell, seed {chosen.seed}: intervals that held the truth; calls of an equal")
    print(
        "kernel as faster or slower by more than 0.5 %; median of pairs; a kernel 2 % slower called slower."
    )
    for rule in (Rule(10, 100, 0.01), Rule(20, 400, 0.003)):
        print(f"\nstop below {rule.target:.1%} half width, {rule.least} to {rule.most} pairs")
        for name, stream in STREAMS.items():
            cells = []
            for title, interval in INTERVALS.items():
                rng = np.random.default_rng(chosen.seed)
                same = [one(stream, rule, interval, rng, 1.0) for _ in range(chosen.runs)]
                slower = [one(stream, rule, interval, rng, 1 / 1.02) for _ in range(chosen.runs)]
                held = np.mean([low <= 1.0 <= high for low, high, _ in same])
                called = np.mean([low > 1 + CALLED or high < 1 - CALLED for low, high, _ in same])
                seen = np.mean([high < 1 - CALLED for _, high, _ in slower])
                pairs = np.median([n for _, _, n in same])
                cells.append(f"{title} {held:.3f} {called:.3f} {pairs:4.0f} {seen:.3f}")
            print(f"  {name:34s} {' | '.join(cells)}")


if __name__ == "__main__":
    main()
