"""The simplest strategies, without which no claim about a search is worth much."""

from __future__ import annotations

from kforge.search.archive import Entry
from kforge.search.strategies.base import Draw, Elites, Memoryless, Trial

# Evaluations without a better kernel after which a climb is given up.
RESTART_AFTER = 25


class RandomAttempts(Memoryless):
    """Every attempt from nothing."""

    repair_share = 0.0

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """Never one."""
        return None


class BestOfN(Memoryless):
    """Every proposal a child of the user's own kernel, or an attempt from nothing where none was given."""

    repair_share = 0.0

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._start: Entry | None = None

    def tell(self, trial: Trial) -> None:
        """Remember the first of the user's kernels that passed."""
        if self._start is None and trial.given:
            self._start = trial.entry

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """Where the search started."""
        return self._start


class Greedy(Memoryless):
    """Always the best so far."""

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The best elite."""
        return archive.best()


class Latest(Memoryless):
    """Always the newest kernel that passed, better or worse: a walk."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._latest: Entry | None = None

    def tell(self, trial: Trial) -> None:
        """Step on."""
        self._latest = trial.entry or self._latest

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """Where the walk stands."""
        return self._latest


class RandomRestart(Memoryless):
    """Greedy climbs; after 25 evaluations without a better kernel a new one begins from nothing."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._top: Entry | None = None
        self._climbers: set[str] = set()
        self._idle = 0

    def tell(self, trial: Trial) -> None:
        """Climb on, count, or give the climb up. Late children of an earlier climb do not count."""
        if self._top is not None and trial.parent is not None and trial.parent not in self._climbers:
            return
        self._idle += 1
        entry = trial.entry
        if entry is not None and (self._top is None or entry.objective > self._top.objective):
            self._top, self._idle = entry, 0
            self._climbers.add(entry.candidate_id)
        elif self._idle >= RESTART_AFTER:
            self._top, self._idle = None, 0
            self._climbers.clear()

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The top of this climb."""
        return self._top
