"""The archive as a page shows it: four panels of named cells, and the names of the empty ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kforge.search.cells import COMPUTE_LEVELS, MEMORY_LEVELS, PARALLELISM_LEVELS, cell_name
from kforge.search.summary import Elite


@dataclass(frozen=True, slots=True)
class Panel:
    """One level of parallelism: rows are memory levels, columns compute levels, None an empty cell."""

    name: str
    rows: tuple[tuple[str, tuple[Elite | None, ...]], ...]

    @property
    def filled(self) -> int:
        """Cells that hold an elite."""
        return sum(elite is not None for _, row in self.rows for elite in row)


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole archive."""

    columns: tuple[str, ...]
    panels: tuple[Panel, ...]
    empty: tuple[str, ...]

    @property
    def filled(self) -> int:
        """Cells that hold an elite."""
        return sum(panel.filled for panel in self.panels)

    @property
    def cells(self) -> int:
        """All cells."""
        return self.filled + len(self.empty)


def grid_of(elites: Sequence[Elite]) -> Grid:
    """Sort the elites into their cells."""
    found = {elite.measures.cell: elite for elite in elites}
    panels = tuple(
        Panel(
            name,
            tuple(
                (label, tuple(found.get((memory, compute, depth)) for compute in range(len(COMPUTE_LEVELS))))
                for memory, label in enumerate(MEMORY_LEVELS)
            ),
        )
        for depth, name in enumerate(PARALLELISM_LEVELS)
    )
    empty = tuple(
        cell_name((memory, compute, depth))
        for depth in range(len(PARALLELISM_LEVELS))
        for memory in range(len(MEMORY_LEVELS))
        for compute in range(len(COMPUTE_LEVELS))
        if (memory, compute, depth) not in found
    )
    return Grid(COMPUTE_LEVELS, panels, empty)
