"""The names of the archive's cells: what each level of each measure is called."""

from __future__ import annotations

MEMORY_LEVELS = ("scalar", "vector", "local tile", "registers/async")
COMPUTE_LEVELS = ("multi-pass", "fused", "single-pass", "tiled")
PARALLELISM_LEVELS = ("items", "barrier", "sub-group", "hierarchical")


def cell_name(cell: tuple[int, int, int]) -> str:
    """A cell in words."""
    return f"{MEMORY_LEVELS[cell[0]]} / {COMPUTE_LEVELS[cell[1]]} / {PARALLELISM_LEVELS[cell[2]]}"
