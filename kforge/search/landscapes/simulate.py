"""One search on a recorded landscape: a shipping strategy, a blind proposer, a table for a device."""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kforge.search.archive import Entry
from kforge.search.context import PROPOSALS_PER_EVAL
from kforge.search.landscapes.landscape import Landscape
from kforge.search.landscapes.table_archive import TableArchive
from kforge.search.strategies.base import Draw, Strategy, Trial

# A step that lands on nothing recorded breaks a constraint of the space, and is drawn again this often.
MAX_REDRAWS = 100


@dataclass(frozen=True, slots=True)
class Course:
    """What one search found.

    Attributes:
        best: recorded mean time of the kernel that the search held for its best, after each evaluation.
        proposals: how many were made; exact duplicates are proposals and no evaluations.
    """

    best: NDArray[np.float64]
    proposals: int


class Ground:
    """A landscape made fast to look things up in, and steps on it.

    Args:
        landscape: the recording.
        step: how many parameters a step changes on average.
    """

    def __init__(self, landscape: Landscape, step: float) -> None:
        self.means = landscape.means.tolist()
        self.cells = landscape.cells
        self.ids = [str(row) for row in range(len(self.means))]
        self.slow_half = landscape.slow_half.tolist()
        self._rows = landscape.configurations.tolist()
        self._codes = landscape.codes.tolist()
        self._row_of = {code: row for row, code in enumerate(self._codes)}
        self._choices = landscape.choices
        self._strides = landscape.strides.tolist()
        self._axes = range(len(landscape.choices))
        self._runtimes = landscape.runtimes.tolist()
        self._starts = landscape.starts.tolist()
        self._changes = _poisson(step - 1.0, len(landscape.choices) - 1)

    def anywhere(self, rng: random.Random) -> int:
        """A configuration drawn from all, failures included."""
        return int(rng.random() * len(self.means))

    def step(self, row: int, rng: random.Random) -> int:
        """A configuration that differs from ``row`` in one parameter, or in more."""
        values, code, draw = self._rows[row], self._codes[row], rng.random
        for _ in range(MAX_REDRAWS):
            changes = 1 + bisect(self._changes, draw())
            axes = (int(draw() * len(self._axes)),) if changes == 1 else rng.sample(self._axes, changes)
            there = code
            for axis in axes:
                choices, old = self._choices[axis], values[axis]
                new = (old + 1 + int(draw() * (choices - 1))) % choices
                there += (new - old) * self._strides[axis]
            found = self._row_of.get(there)
            if found is not None:
                return found
        return self.anywhere(rng)

    def time(self, row: int, rng: random.Random) -> float:
        """One of the raw times that were recorded."""
        start = self._starts[row]
        return float(self._runtimes[start + int(rng.random() * (self._starts[row + 1] - start))])


def _poisson(mean: float, most: int) -> list[float]:
    """Cumulated probabilities of 0, 1, ... further changes; more than ``most`` counts as ``most``."""
    weights = [math.exp(-mean) * mean**n / math.factorial(n) for n in range(most)]
    return [sum(weights[: n + 1]) for n in range(most)]


def search(
    ground: Ground, make: Callable[[Draw], Strategy], rng: random.Random, *, evals: int, workers: int
) -> Course:
    """One run as ``kforge evolve`` would make it.

    The start is a given kernel from the slow half and is told before anything is proposed. Then ``workers``
    candidates are under way at a time, of which any may be the next to be told, so parents are chosen from
    what was told until then. An exact duplicate costs a proposal and no evaluation.

    Args:
        ground: the landscape.
        make: the strategy.
        rng: every random number of the run.
        evals: evaluations to make.
        workers: candidates under way at a time.
    """
    strategy, archive = make(lambda purpose, ordinal: rng), TableArchive()
    best = [math.inf]
    told: set[int] = set()
    top = -math.inf
    start = rng.choice(ground.slow_half)
    under_way: list[tuple[int, int, str | None]] = [(0, start, None)]
    ordinal, evaluations = 1, 0
    while under_way:
        place = int(rng.random() * len(under_way)) if len(under_way) > 1 else 0
        number, row, parent = under_way.pop(place)
        entry: Entry | None = None
        entered = False
        if row not in told:
            told.add(row)
            evaluations += 1
            held = best[-1]
            if ground.means[row] < math.inf:
                objective = -math.log2(ground.time(row, rng))
                entry = Entry(ground.ids[row], objective, ground.cells[row])
                entered = archive.add(entry).status != "rejected"
                if objective > top:
                    top, held = objective, ground.means[row]
            best.append(held)
        strategy.tell(Trial(number, parent, number == 0, entry, entered))
        while (
            len(under_way) < workers
            and evaluations + len(under_way) < evals
            and ordinal < PROPOSALS_PER_EVAL * evals
        ):
            chosen = strategy.parent(ordinal, archive)
            parent = None if chosen is None else chosen.candidate_id
            strategy.decided(parent)
            row = ground.anywhere(rng) if parent is None else ground.step(int(parent), rng)
            under_way.append((ordinal, row, parent))
            ordinal += 1
    best += [best[-1]] * (evals + 1 - len(best))
    return Course(np.array(best[1:]), ordinal)
