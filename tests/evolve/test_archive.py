"""The archive: cells, improvements, refusals, statistics."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from kforge.search.archive import QD_OFFSET, Archive, Entry, objective_of
from kforge.types import Measures
from tests.evolve.world import passed


def entry(name: str, objective: float, *cell: int) -> Entry:
    return Entry(name, objective, Measures(*(cell or (0, 0, 0))))


def test_an_empty_archive_has_no_best() -> None:
    archive = Archive()
    assert archive.elites() == ()
    assert archive.best() is None
    assert archive.stats().elites == 0
    assert archive.stats().coverage == 0.0
    assert archive.stats().best_objective is None


def test_a_cell_keeps_the_better_candidate() -> None:
    archive = Archive()
    new = archive.add(entry("a", 1.0))
    worse = archive.add(entry("b", 0.5))
    equal = archive.add(entry("c", 1.0))
    better = archive.add(entry("d", 1.75))
    assert [r.status for r in (new, worse, equal, better)] == ["new", "rejected", "rejected", "improved"]
    assert (new.improvement, worse.improvement, better.improvement) == (1.0, -0.5, 0.75)
    assert archive.elites() == (entry("d", 1.75),)


def test_a_slow_but_correct_candidate_is_new_and_raises_the_qd_score() -> None:
    archive = Archive()
    archive.add(entry("fast", 2.0))
    before = archive.stats().qd_score
    assert archive.add(entry("slow", -3.0, 1, 1, 1)).status == "new"
    assert archive.stats().qd_score == pytest.approx(before - 3.0 - QD_OFFSET)
    assert archive.best() == entry("fast", 2.0)


def test_every_level_has_its_own_cell() -> None:
    archive = Archive()
    for cell in itertools.product(range(4), repeat=3):
        assert archive.add(entry(str(cell), 0.0, *cell)).status == "new"
    stats = archive.stats()
    assert (stats.elites, stats.coverage) == (64, 1.0)
    assert [e.measures.cell for e in archive.elites()] == sorted(itertools.product(range(4), repeat=3))
    assert all(e.candidate_id == str(e.measures.cell) for e in archive.elites())


@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_is_refused(objective: float) -> None:
    archive = Archive()
    archive.add(entry("a", 1.0))
    with pytest.raises(ValueError, match="not finite"):
        archive.add(entry("b", objective, 1, 1, 1))
    assert [e.candidate_id for e in archive.elites()] == ["a"]


@pytest.mark.parametrize("cell", [(4, 0, 0), (0, -1, 0), (0, 0, 1.5)])
def test_levels_out_of_range_are_refused_not_clipped(cell: tuple[int, int, int]) -> None:
    measures = Measures(0, 0, 0)
    for name, level in zip(("memory", "compute", "parallelism"), cell, strict=True):
        object.__setattr__(measures, name, level)
    with pytest.raises(ValueError, match="levels are"):
        Archive().add(Entry("a", 1.0, measures))


def test_the_objective_is_the_log_of_the_lower_bound() -> None:
    assert objective_of(dataclasses.replace(passed(9.0), speedup_low=8.0)) == 3.0
    for low in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="speedup_low"):
            objective_of(dataclasses.replace(passed(1.0), speedup_low=low))


def test_rebuilding_gives_the_same_archive() -> None:
    told = [
        entry("a", 1.0),
        entry("b", 2.0, 1, 2, 3),
        entry("c", 1.5),
        entry("d", 1.5),
        entry("e", 0, 1, 2, 3),
    ]
    archive = Archive()
    for each in told:
        archive.add(each)
    rebuilt = Archive.rebuild(told)
    assert rebuilt.elites() == archive.elites() == (entry("c", 1.5), entry("b", 2.0, 1, 2, 3))
    assert rebuilt.stats() == archive.stats()
