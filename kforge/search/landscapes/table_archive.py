"""The archive of ``kforge.search.archive`` without pyribs: the same answers, fast enough for many runs.

A property test tells both the same entries and compares everything that they say.
"""

from __future__ import annotations

from bisect import insort

from kforge.search.archive import AddResult, Entry

Cell = tuple[int, int, int]


class TableArchive:
    """The best entry of every cell."""

    def __init__(self) -> None:
        self._by_cell: dict[Cell, Entry] = {}
        self._cells: list[Cell] = []
        self._best: Entry | None = None
        self._elites: tuple[Entry, ...] | None = None

    def add(self, entry: Entry) -> AddResult:
        """Offer one entry; it enters when its cell is empty or holds a strictly worse elite."""
        cell = entry.measures.cell
        held = self._by_cell.get(cell)
        if held is not None and entry.objective <= held.objective:
            return AddResult("rejected", entry.objective - held.objective)
        if held is None:
            insort(self._cells, cell)
        self._by_cell[cell] = entry
        self._elites = None
        best = self._best
        if best is None or (entry.objective, best.measures.cell) > (best.objective, cell):
            self._best = entry
        if held is None:
            return AddResult("new", entry.objective)
        return AddResult("improved", entry.objective - held.objective)

    def elites(self) -> tuple[Entry, ...]:
        """The elites by cell, lowest first."""
        if self._elites is None:
            self._elites = tuple(self._by_cell[cell] for cell in self._cells)
        return self._elites

    def best(self) -> Entry | None:
        """The elite with the highest objective, the lowest cell among equals; None while empty."""
        return self._best
