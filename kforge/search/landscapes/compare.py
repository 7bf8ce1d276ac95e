"""From many searches to statements: means, paired differences and bounds, clustered by kernel family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kforge.search.landscapes.landscape import Landscape
from kforge.search.landscapes.runs import Job, Plan, Runs, Setting

DRAWS = 2000
# Each bound is one-sided: the truth lies below ``low`` in one of twenty such experiments.
LOW, HIGH = 5.0, 95.0

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its one-sided 95 % bounds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """All arms under one setting.

    Attributes:
        arms: in the order of the first axis of the arrays.
        names: of the landscapes, in the order of the second axis.
        evals: in the order of the last axis.
        fractions: mean fraction of the optimum by arm, landscape and evaluations.
        scores: random-relative score likewise; NaN where random search has found the optimum itself.
        curves: mean fraction over the landscapes after every evaluation, by arm.
        score_curves: random-relative score over the landscapes after every evaluation, by arm.
        drawn: ``fractions`` of resampled seeds; the first axis is the draw.
        weights: of the landscapes, in each draw of families.
    """

    setting: Setting
    arms: tuple[str, ...]
    names: tuple[str, ...]
    evals: tuple[int, ...]
    fractions: Array
    scores: Array
    curves: Array
    score_curves: Array
    drawn: Array
    weights: Array

    @property
    def families(self) -> tuple[str, ...]:
        """The families, by name."""
        return tuple(sorted({family_of(name) for name in self.names}))

    def on(self, landscape: str, arm: str, evals: int) -> Estimate:
        """The fraction on one landscape; the bounds are over seeds."""
        a, where, e = self.arms.index(arm), self.names.index(landscape), self.evals.index(evals)
        return _estimate(float(self.fractions[a, where, e]), self.drawn[:, a, where, e])

    def overall(self, arm: str, evals: int, against: str | None = None) -> Estimate:
        """The mean over the landscapes, or what it is above another arm's; bounds over families and seeds."""
        mean, drawn = self._difference(arm, against, evals)
        return _estimate(float(mean.mean()), (drawn * self.weights).sum(axis=1))

    def in_family(self, family: str, arm: str, against: str, evals: int) -> Estimate:
        """What the mean over a family's landscapes is above that of another arm; bounds over seeds."""
        mean, drawn = self._difference(arm, against, evals)
        members = [place for place, name in enumerate(self.names) if family_of(name) == family]
        return _estimate(float(mean[members].mean()), drawn[:, members].mean(axis=1))

    def best(self, evals: int) -> str:
        """The arm with the highest mean over the landscapes."""
        means = self.fractions[:, :, self.evals.index(evals)].mean(axis=1)
        return self.arms[int(means.argmax())]

    def _difference(self, arm: str, against: str | None, evals: int) -> tuple[Array, Array]:
        """By landscape, and by draw and landscape."""
        a, e = self.arms.index(arm), self.evals.index(evals)
        mean, drawn = self.fractions[a, :, e], self.drawn[:, a, :, e]
        if against is None:
            return mean, drawn
        b = self.arms.index(against)
        return mean - self.fractions[b, :, e], drawn - self.drawn[:, b, :, e]


def family_of(name: str) -> str:
    """The kernel family of a landscape: its name up to the first hyphen."""
    return name.partition("-")[0]


def random_best(landscape: Landscape, evals: int) -> Array:
    """Expected best time of a random search without repetition, after 1 to ``evals`` evaluations.

    Failures are drawn and charged; the expectation is over the searches that have drawn something that works.
    """
    times = np.sort(landscape.means[np.isfinite(landscape.means)])
    every, ranks = len(landscape.means), np.arange(len(times) + 1)
    none_of_first = np.ones(len(times) + 1)  # probability that none of the fastest k was drawn, for every k
    expected = np.empty(evals)
    for drawn in range(evals):
        if drawn < every:
            none_of_first = none_of_first * np.maximum(every - ranks - drawn, 0) / (every - drawn)
        expected[drawn] = times @ -np.diff(none_of_first) / (1.0 - none_of_first[-1])
    return expected


def compare(
    plan: Plan, landscapes: Sequence[Landscape], runs: Mapping[Job, Runs], setting: Setting
) -> Comparison:
    """Put the searches under one setting side by side."""
    places = range(len(landscapes))
    by_seed = np.array([[runs[place, arm, setting].fractions for place in places] for arm in plan.arms])
    times = np.array([[runs[place, arm, setting].times for place in places] for arm in plan.arms])
    scores = _scores(landscapes, times)
    known = ~np.isnan(scores).all(axis=(0, 2))
    curves = [[runs[place, arm, setting].curve for place in places] for arm in plan.arms]
    rng = np.random.default_rng(plan.seed)
    names = tuple(landscape.name for landscape in landscapes)
    return Comparison(
        setting=setting,
        arms=plan.arms,
        names=names,
        evals=plan.evals,
        fractions=by_seed.mean(axis=2),
        scores=scores[:, :, np.array(plan.evals) - 1],
        curves=np.array(curves).mean(axis=1),
        score_curves=scores[:, known].mean(axis=1) if known.any() else np.full(times.shape[::2], np.nan),
        drawn=_resampled(by_seed, rng),
        weights=_family_weights(names, rng),
    )


def _scores(landscapes: Sequence[Landscape], times: Array) -> Array:
    """0 is random search, 1 the optimum: the score of the autotuning methodology."""
    scores = np.full(times.shape, np.nan)
    for place, landscape in enumerate(landscapes):
        base = random_best(landscape, times.shape[2])
        room = base - landscape.optimum
        known = room > 1e-9 * landscape.optimum
        scores[:, place, known] = (base - times[:, place])[:, known] / room[known]
    return scores


def _resampled(by_seed: Array, rng: np.random.Generator) -> Array:
    """Means over seeds drawn with repetition; the same seeds for all arms, which keeps them paired."""
    arms, landscapes, seeds, evals = by_seed.shape
    drawn = np.empty((DRAWS, arms, landscapes, evals))
    for place in range(landscapes):
        counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
        values = by_seed[:, place].transpose(1, 0, 2).reshape(seeds, arms * evals)
        drawn[:, :, place] = (counts @ values).reshape(DRAWS, arms, evals)
    return drawn


def _family_weights(names: Sequence[str], rng: np.random.Generator) -> Array:
    """Weights of the landscapes when whole families are drawn with repetition."""
    families = sorted({family_of(name) for name in names})
    counts = rng.multinomial(len(families), np.full(len(families), 1 / len(families)), size=DRAWS)
    weights = counts[:, [families.index(family_of(name)) for name in names]].astype(np.float64)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def _estimate(mean: float, drawn: Array) -> Estimate:
    low, high = np.percentile(drawn, [LOW, HIGH])
    return Estimate(mean, float(low), float(high))
