"""The strategy that ships as the default: children in proportion to one over the rank.

The next parent is the kernel with the lowest rank * (children + 1), where the best kernel has rank 1. So a
new best gets the next proposals for itself; the longer it stays the best, the further down the ranking the
children go, the kernel of rank r having about an r-th of the children of the best one. That is greedy
where the search moves and broad where it stands, without a constant to tune.
"""

from __future__ import annotations

from collections import Counter

from kforge.search.archive import Entry
from kforge.search.strategies.base import Draw, Elites, Memoryless, Ranking, Trial


class Harmonic(Memoryless):
    """Shares children over the ranking of everything that passed, as one over the rank.

    Children under way and children that failed or repeated something known count as much as others: a
    kernel whose surroundings are exhausted falls back by itself.
    """

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self._ranking = Ranking()
        self._children: Counter[str] = Counter()

    def decided(self, parent: str | None) -> None:
        """Count the child at once, so that proposals decided together have different parents."""
        if parent is not None:
            self._children[parent] += 1

    def tell(self, trial: Trial) -> None:
        """Rank what passed."""
        if trial.entry is not None:
            self._ranking.add(trial.entry)

    def parent(self, ordinal: int, archive: Elites) -> Entry | None:
        """The lowest product; the better kernel among equals."""
        chosen: Entry | None = None
        lowest = 0
        for place in range(len(self._ranking)):
            rank = place + 1
            if chosen is not None and rank >= lowest:
                break  # from here on no product can be lower
            entry = self._ranking[place]
            product = rank * (self._children[entry.candidate_id] + 1)
            if chosen is None or product < lowest:
                chosen, lowest = entry, product
        return chosen
