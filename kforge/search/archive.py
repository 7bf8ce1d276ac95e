"""The MAP-Elites archive: the best candidate of every kind. The only home of pyribs.

The archive holds candidate ids, never sources, and is a projection of the stored evaluations: telling
the same entries in the same order always gives the same archive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kforge.types import Measures, Passed

LEVELS = 4
DIMENSIONS = 3
CELLS = LEVELS**DIMENSIONS
# QD score is the sum of (objective - offset), as in pyribs. With an offset of 0 a correct kernel slower
# than the baseline would lower the score by filling an empty cell; at -10 only one 1024 times slower does.
QD_OFFSET = -10.0

AddStatus = Literal["new", "improved", "rejected"]
_STATUS: tuple[AddStatus, ...] = ("rejected", "improved", "new")  # in the order of pyribs' codes 0, 1, 2


def objective_of(outcome: Passed) -> float:
    """Log2 of the lower bound of the speedup: 0 is the baseline's speed, 1 twice as fast.

    Raises:
        ValueError: the bound is not a positive finite number.
    """
    low = outcome.speedup_low
    if not (math.isfinite(low) and low > 0):
        raise ValueError(f"speedup_low is {low}; a passed outcome has a positive finite one")
    return math.log2(low)


@dataclass(frozen=True, slots=True)
class Entry:
    """A correct candidate offered to the archive, or an elite held by it."""

    candidate_id: str
    objective: float
    measures: Measures


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of an offered entry.

    Attributes:
        improvement: gain of the cell in objective; the entry's own objective in an empty cell; what it
            lacks to the elite, 0 or negative, when rejected.
    """

    status: AddStatus
    improvement: float


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """Coverage is the share of the 64 cells that are filled; ``best_objective`` is None while empty."""

    elites: int
    coverage: float
    qd_score: float
    best_objective: float | None


class Archive:
    """A 4 x 4 x 4 grid (memory, compute, parallelism) of candidate ids over pyribs' ``GridArchive``."""

    def __init__(self) -> None:
        import numpy as np
        from ribs.archives import GridArchive

        # Integer levels sit in the middle of cells of width 1, so plots of pyribs keep working.
        self._grid = GridArchive(
            solution_dim=(),
            dims=[LEVELS] * DIMENSIONS,
            ranges=[(-0.5, LEVELS - 0.5)] * DIMENSIONS,
            qd_score_offset=QD_OFFSET,
            solution_dtype=object,
            objective_dtype=np.float64,
            measures_dtype=np.float64,
        )

    @classmethod
    def rebuild(cls, entries: Iterable[Entry]) -> Archive:
        """An archive told ``entries`` in the order given."""
        archive = cls()
        for entry in entries:
            archive.add(entry)
        return archive

    def add(self, entry: Entry) -> AddResult:
        """Offer one entry; it enters when its cell is empty or holds a strictly worse elite.

        Raises:
            ValueError: the objective is not finite, or a level is not one of 0..3. pyribs would clip
                the level into a border cell without a word.
        """
        if not math.isfinite(entry.objective):
            raise ValueError(f"objective of candidate {entry.candidate_id} is {entry.objective}; not finite")
        cell = entry.measures.cell
        if not all(isinstance(level, int) and 0 <= level < LEVELS for level in cell):
            raise ValueError(f"measures of candidate {entry.candidate_id} are {cell}; levels are 0..3")
        info = self._grid.add_single(entry.candidate_id, entry.objective, cell)
        return AddResult(_STATUS[int(info["status"])], float(info["value"]))

    def elites(self) -> tuple[Entry, ...]:
        """The elites by cell, lowest first."""
        found = [
            Entry(
                str(elite["solution"]),
                float(elite["objective"]),
                Measures(*(int(level) for level in elite["measures"])),
            )
            for elite in self._grid
        ]
        return tuple(sorted(found, key=lambda entry: entry.measures.cell))

    def best(self) -> Entry | None:
        """The elite with the highest objective, the lowest cell among equals; None while empty."""
        return max(self.elites(), key=lambda entry: entry.objective, default=None)

    def stats(self) -> ArchiveStats:
        """Size and quality as plain numbers."""
        best = self.best()
        stats = self._grid.stats
        return ArchiveStats(
            elites=len(self._grid),
            coverage=float(stats.coverage),
            qd_score=float(stats.qd_score),
            best_objective=None if best is None else best.objective,
        )
