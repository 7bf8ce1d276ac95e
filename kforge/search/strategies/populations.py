"""Strategies that keep a population of kernels, without cells."""

from __future__ import annotations

import math

from kforge.search.archive import Entry
from kforge.search.strategies.base import Draw, Elites, Memoryless, Ranking, Trial

TOP_K = 5
BEAM_WIDTH = 2
BEAM_CHILDREN = 2
# Objectives are powers of two of speedup: at first a kernel that is a quarter slower is taken one time in e.
FIRST_TEMPERATURE = 0.4
COOLING = 0.98
ISLANDS = 5
ISLAND_TOP = 3
MIGRATE_EVERY = 50


class TopK(Memoryless):
    """One of the five best kernels of the run, each as likely."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._ranking = Ranking()

    def tell(self, trial: Trial) -> None:
        """Rank what passed."""
        if trial.entry is not None:
            self._ranking.add(trial.entry)

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """A draw from the top."""
        among = min(TOP_K, len(self._ranking))
        return self._ranking[self._draw("parent", ordinal).randrange(among)] if among else None


class Beam(Memoryless):
    """Two kernels, two children each; then the two best of all six go on."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._beam: list[Entry] = []
        self._born: list[Entry] = []
        self._told = 0

    def tell(self, trial: Trial) -> None:
        """Collect a generation; failures are of it too."""
        self._told += 1
        if trial.entry is not None:
            self._born.append(trial.entry)
        if self._told >= BEAM_WIDTH * BEAM_CHILDREN or not self._beam:
            both = self._beam + self._born  # sorting is stable: parents first among equals
            self._beam = sorted(both, key=lambda entry: -entry.objective)[:BEAM_WIDTH]
            self._born, self._told = [], 0

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The kernels of the beam in turn."""
        return self._beam[ordinal % len(self._beam)] if self._beam else None


class Annealing(Memoryless):
    """Simulated annealing: a walk that steps down more and more rarely."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._here: Entry | None = None
        self._temperature = FIRST_TEMPERATURE

    def tell(self, trial: Trial) -> None:
        """Step to what is better, and sometimes to what is worse."""
        self._temperature *= COOLING
        entry = trial.entry
        if entry is None:
            return
        loss = 0.0 if self._here is None else self._here.objective - entry.objective
        if loss <= 0 or self._draw("accept", trial.ordinal).random() < math.exp(-loss / self._temperature):
            self._here = entry

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """Where the walk stands."""
        return self._here


class Islands(Memoryless):
    """Five populations that do not know each other, but for the best of each that moves on now and then."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._islands = [Ranking() for _ in range(ISLANDS)]
        self._first: Entry | None = None
        self._told = 0

    def tell(self, trial: Trial) -> None:
        """Settle it on its island; every 50 evaluations the best of each island is copied to the next."""
        self._told += 1
        if trial.entry is not None:
            self._first = self._first or trial.entry
            self._islands[trial.ordinal % ISLANDS].add(trial.entry)
        if self._told % MIGRATE_EVERY == 0:
            bests = [island[0] if len(island) else None for island in self._islands]
            for number, best in enumerate(bests):
                if best is not None:
                    self._islands[(number + 1) % ISLANDS].add(best)

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """One of the three best of its island; whatever passed first where the island is empty."""
        island = self._islands[ordinal % ISLANDS]
        among = min(ISLAND_TOP, len(island))
        return island[self._draw("parent", ordinal).randrange(among)] if among else self._first
