"""A recorded landscape: every configuration of a kernel's tuning space, with what it ran like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kforge.search.archive import DIMENSIONS, LEVELS
from kforge.types import Measures


@dataclass(frozen=True)
class Landscape:
    """One kernel on one device.

    Attributes:
        name: of its file, without the endings.
        parameters: names of the parameters that vary, in the file's order.
        choices: how many values each of them takes.
        configurations: index of each parameter's value among its sorted values; one row per configuration.
        means: recorded mean times, in the file's unit; infinite where the configuration failed.
        runtimes: raw times of all configurations, one after the other; a mean where none were recorded.
        starts: where the raw times of each configuration begin, and after the last where they end.
    """

    name: str
    parameters: tuple[str, ...]
    choices: tuple[int, ...]
    configurations: NDArray[np.int64]
    means: NDArray[np.float64]
    runtimes: NDArray[np.float64]
    starts: NDArray[np.int64]

    @cached_property
    def optimum(self) -> float:
        """The lowest recorded mean."""
        return float(self.means.min())

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Each configuration as one number, in mixed radix."""
        return self.configurations @ self.strides

    @cached_property
    def strides(self) -> NDArray[np.int64]:
        """What one step of each parameter adds to the code."""
        return np.cumprod([1, *self.choices[:-1]], dtype=np.int64)

    @cached_property
    def slow_half(self) -> NDArray[np.int64]:
        """Rows of the working configurations that are no faster than their median."""
        works = np.isfinite(self.means)
        return np.flatnonzero(works & (self.means >= np.median(self.means[works])))

    @cached_property
    def cells(self) -> list[Measures]:
        """The archive cell of each configuration.

        The three parameters with the most values are the measures, the earlier in the file among equals.
        Their sorted values are cut into four levels of as equal a number of values as possible. No name and
        no time enters, so the map is the same rule for any file.
        """
        widest = sorted(range(len(self.choices)), key=lambda p: (-self.choices[p], p))[:DIMENSIONS]
        levels = np.zeros((len(self.means), DIMENSIONS), dtype=np.int64)
        for axis, parameter in enumerate(sorted(widest)):
            levels[:, axis] = self.configurations[:, parameter] * LEVELS // self.choices[parameter]
        grid = {
            cell: Measures(*cell)
            for cell in {(int(a), int(b), int(c)) for a, b, c in np.unique(levels, axis=0)}
        }
        return [grid[(a, b, c)] for a, b, c in levels.tolist()]
