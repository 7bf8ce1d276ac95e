"""What a default strategy must achieve, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kforge.search.landscapes.compare import Comparison, Estimate

PLAIN, GREEDY = "map-elites", "greedy"
BEHIND_BEST = -0.01
ABOVE_PLAIN, PLAIN_AT = 0.04, 100
FAMILY_BEHIND_GREEDY, FAMILY_AT = -0.02, 200


@dataclass(frozen=True, slots=True)
class Criterion:
    """A difference in the fraction of the optimum that must not be below a limit.

    Attributes:
        against: the arm compared with.
        family: the kernel family looked at; None for all landscapes.
        limit: ``difference.low`` must reach it.
    """

    strategy: str
    against: str
    said: str
    steps: str
    workers: int
    evals: int
    family: str | None
    difference: Estimate
    limit: float

    @property
    def met(self) -> bool:
        """The one-sided 95 % bound reaches the limit."""
        return self.difference.low >= self.limit

    @property
    def met_by_mean(self) -> bool:
        """The mean reaches the limit, whatever its bound."""
        return self.difference.mean >= self.limit


def judge(comparison: Comparison, arm: str) -> tuple[Criterion, ...]:
    """The criteria that can be judged with the arms and evaluations that were run."""
    return tuple(_criteria(comparison, arm))


def _criteria(comparison: Comparison, arm: str) -> Iterator[Criterion]:
    steps = comparison.setting.steps

    def criterion(said: str, against: str, evals: int, limit: float, family: str | None = None) -> Criterion:
        if family is None:
            difference = comparison.overall(arm, evals, against)
        else:
            difference = comparison.in_family(family, arm, against, evals)
        workers = comparison.setting.workers
        return Criterion(arm, against, said, steps, workers, evals, family, difference, limit)

    for evals in comparison.evals:
        yield criterion("at most 0.01 below the best arm", comparison.best(evals), evals, BEHIND_BEST)
    if steps == "small" and PLAIN in comparison.arms and PLAIN_AT in comparison.evals:
        yield criterion("0.04 above uniform MAP-Elites", PLAIN, PLAIN_AT, ABOVE_PLAIN)
    if GREEDY not in comparison.arms:
        return
    if steps == "large":
        for evals in comparison.evals:
            yield criterion("not below greedy", GREEDY, evals, 0.0)
    if FAMILY_AT in comparison.evals:
        for family in comparison.families:
            yield criterion(
                "at most 0.02 below greedy in a family", GREEDY, FAMILY_AT, FAMILY_BEHIND_GREEDY, family
            )
