"""Strategies that choose among the elites of the archive: the best kernel of every kind."""

from __future__ import annotations

from collections import defaultdict

from kforge.search.archive import Entry
from kforge.search.strategies.base import Draw, Elites, Memoryless, Trial

BEST_PARENT_SHARE = 0.5
# A cell's success rate starts as if one of two children had entered the archive.
PRIOR_SUCCESSES, PRIOR_CHILDREN = 1.0, 2.0
# How much of a cell's recorded gain is left when the next child of the cell is told.
GAIN_DECAY = 0.7


class MapElites(Memoryless):
    """A uniform draw among the elites."""

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """Any elite."""
        elites = archive.elites()
        return self._draw("parent", ordinal).choice(elites) if elites else None


class Mixed(Memoryless):
    """Half of the time the best elite, else a uniform draw among the elites."""

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The best elite, or any."""
        elites = archive.elites()
        if not elites:
            return None
        rng = self._draw("parent", ordinal)
        return archive.best() if rng.random() < BEST_PARENT_SHARE else rng.choice(elites)


class Curiosity(Memoryless):
    """Elites in proportion to how often children of their cell entered the archive."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._cell_of: dict[str, tuple[int, int, int]] = {}
        self._entered: dict[tuple[int, int, int], float] = defaultdict(lambda: PRIOR_SUCCESSES)
        self._children: dict[tuple[int, int, int], float] = defaultdict(lambda: PRIOR_CHILDREN)

    def tell(self, trial: Trial) -> None:
        """Credit the parent's cell."""
        if trial.entry is not None:
            self._cell_of[trial.entry.candidate_id] = trial.entry.measures.cell
        cell = self._cell_of.get(trial.parent or "")
        if cell is not None:
            self._children[cell] += 1.0
            self._entered[cell] += trial.entered

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """A draw by success."""
        elites = archive.elites()
        if not elites:
            return None
        rates = [self._entered[e.measures.cell] / self._children[e.measures.cell] for e in elites]
        return self._draw("parent", ordinal).choices(elites, rates)[0]


class Gradient(Memoryless):
    """The elite whose child promises most: its objective plus its cell's usual gain, from recorded moves."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._known: dict[str, Entry] = {}
        self._gain: dict[tuple[int, int, int], float] = {}

    def tell(self, trial: Trial) -> None:
        """Record what the move gained; a loss and a failure gain nothing."""
        if trial.entry is not None:
            self._known[trial.entry.candidate_id] = trial.entry
        parent = self._known.get(trial.parent or "")
        if parent is not None:
            gained = 0.0 if trial.entry is None else max(0.0, trial.entry.objective - parent.objective)
            cell = parent.measures.cell
            self._gain[cell] = GAIN_DECAY * self._gain.get(cell, 1.0) + (1 - GAIN_DECAY) * gained

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The most promising elite; a cell without children promises a doubling."""
        return max(
            archive.elites(),
            key=lambda elite: elite.objective + self._gain.get(elite.measures.cell, 1.0),
            default=None,
        )
