"""What a strategy is: it is told every outcome, and says whose child the next proposal should be.

A strategy sees no clock, no generator and no store. It is told the decisions and outcomes of a run in their
order and draws random numbers by purpose and ordinal, so telling the stored rows again gives the same
strategy in the same state.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kforge.search.archive import Entry

# A generator for one purpose and one ordinal.
Draw = Callable[[str, int], random.Random]


@dataclass(frozen=True, slots=True)
class Trial:
    """A told candidate as a strategy sees it.

    Attributes:
        parent: id of the candidate it was made from; None for an attempt from nothing.
        given: it is the user's own file.
        entry: what it offered to the archive; None where it failed or was an exact duplicate.
        entered: it became the elite of its cell.
    """

    ordinal: int
    parent: str | None
    given: bool
    entry: Entry | None
    entered: bool


class Elites(Protocol):
    """The archive, as far as a strategy looks into it."""

    def elites(self) -> tuple[Entry, ...]:
        """The elites by cell, lowest first."""
        ...

    def best(self) -> Entry | None:
        """The elite with the highest objective, the lowest cell among equals; None while empty."""
        ...


class Strategy(Protocol):
    """Chooses parents.

    Attributes:
        repair_share: share of the proposals that mend a failure while one waits.
    """

    @property
    def repair_share(self) -> float: ...  # noqa: D102

    def decided(self, parent: str | None) -> None:
        """Take note that a child of ``parent`` is under way; it is told later, or lost."""
        ...

    def tell(self, trial: Trial) -> None:
        """Take in one outcome, after the archive was told."""
        ...

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The parent of one proposal; None asks for an attempt from nothing. Changes nothing."""
        ...


class Memoryless:
    """A strategy that mends failures as the others do and remembers nothing.

    Args:
        draw: where its random numbers come from.
    """

    repair_share = 0.3

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def decided(self, parent: str | None) -> None:
        """Nothing to note."""

    def tell(self, trial: Trial) -> None:
        """Nothing to note."""


class Ranking:
    """Everything that passed, best first; among equals the one told first."""

    def __init__(self) -> None:
        self._keys: list[tuple[float, int]] = []
        self._entries: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, rank: int) -> Entry:
        return self._entries[self._keys[rank][1]]

    def add(self, entry: Entry) -> int:
        """Take in one entry; the place it was told at, counted from 0."""
        place = len(self._entries)
        self._entries[place] = entry
        insort(self._keys, (-entry.objective, place))
        return place
