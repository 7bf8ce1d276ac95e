"""The course of a run: every told candidate, and the best so far after each."""

from __future__ import annotations

from dataclasses import dataclass

from kforge.data.records import RunRecords
from kforge.types import Passed


@dataclass(frozen=True, slots=True)
class Interval:
    """A speedup over the baseline with its 95 % interval."""

    speedup: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One told candidate.

    Attributes:
        told: its place in the order of telling, from 1.
        own: its speedup; None unless it passed.
        best: the best so far, this one included; None while nothing has passed.
        improved: it became the best of the run.
    """

    told: int
    ordinal: int
    status: str
    own: Interval | None
    best: Interval | None
    improved: bool


def interval_of(outcome: Passed) -> Interval:
    """The speedup of an outcome."""
    return Interval(outcome.speedup, outcome.speedup_low, outcome.speedup_high)


def curve_of(records: RunRecords) -> tuple[Point, ...]:
    """The points in the order of telling.

    The best is what the archive calls so: the highest lower bound. Only an evaluation with an objective was
    offered to the archive; an exact duplicate has none.
    """
    ordinals = {candidate.id: candidate.ordinal for candidate in records.candidates}
    points: list[Point] = []
    best: Interval | None = None
    best_objective = float("-inf")
    for told, evaluation in enumerate(records.evaluations, start=1):
        outcome, objective = evaluation.value.outcome, evaluation.value.objective
        own = interval_of(outcome) if isinstance(outcome, Passed) else None
        improved = own is not None and objective is not None and objective > best_objective
        if improved and objective is not None:
            best, best_objective = own, objective
        points.append(Point(told, ordinals[evaluation.candidate_id], outcome.status, own, best, improved))
    return tuple(points)
