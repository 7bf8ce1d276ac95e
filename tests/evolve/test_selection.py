"""Decisions: their shares, and that nothing but (seed, ordinal, state) enters."""

from __future__ import annotations

from collections import Counter

import pytest

from kforge.search.archive import Archive, Entry
from kforge.search.selection import Decision, decide
from kforge.search.strategies.base import Strategy, Trial
from kforge.search.strategies.registry import STRATEGIES, make_strategy
from kforge.types import Measures

ELITES = [
    Entry("best", 3.0, Measures(2, 2, 2)),
    Entry("low", 0.5, Measures(0, 0, 0)),
    Entry("mid", 1.0, Measures(1, 0, 0)),
    Entry("other", 0.7, Measures(0, 3, 1)),
]


def told(archive: Archive, name: str = "mixed", seed: int = 1) -> Strategy:
    """A strategy that knows what the archive holds."""
    strategy = make_strategy(name, seed)
    for place, entry in enumerate(archive.elites()):
        strategy.tell(Trial(place, None, given=False, entry=entry, entered=True))
    return strategy


def decisions(
    archive: Archive, repairable: tuple[str, ...], count: int = 2000, seed: int = 1, name: str = "mixed"
) -> list[Decision]:
    strategy = told(archive, name, seed)
    return [decide(seed, n, archive, repairable, strategy) for n in range(count)]


def test_the_first_decision_has_no_parent() -> None:
    decision = decide(1, 0, Archive(), (), told(Archive()))
    assert (decision.kind, decision.parent, decision.inspirations) == ("first", None, ())


def test_an_empty_archive_repairs_the_newest_failure() -> None:
    made = decisions(Archive(), ("old", "new"), 20)
    assert {(d.kind, d.parent) for d in made} == {("repair", "new")}


def test_repair_takes_about_three_tenths() -> None:
    kinds = Counter(d.kind for d in decisions(Archive.rebuild(ELITES), ("f",)))
    assert kinds["improve"] + kinds["repair"] == 2000
    assert 500 < kinds["repair"] < 700


def test_without_failures_everything_improves() -> None:
    assert {d.kind for d in decisions(Archive.rebuild(ELITES), ())} == {"improve"}


def test_half_of_the_parents_are_the_best_and_the_rest_is_uniform() -> None:
    parents = Counter(d.parent for d in decisions(Archive.rebuild(ELITES), ()))
    assert 1150 < parents["best"] < 1350  # 1/2 + 1/2 * 1/4
    for name in ("low", "mid", "other"):
        assert 190 < parents[name] < 310


def test_inspirations_are_other_elites() -> None:
    for decision in decisions(Archive.rebuild(ELITES), ("f",), 300):
        assert len(decision.inspirations) == len(set(decision.inspirations)) == 2
        assert decision.parent not in decision.inspirations
    alone = Archive.rebuild(ELITES[:1])
    lonely = decide(1, 5, alone, (), told(alone))
    assert (lonely.parent, lonely.inspirations) == ("best", ())


def test_the_same_state_decides_the_same_whatever_was_decided_before() -> None:
    whole = decisions(Archive.rebuild(ELITES), ("f",), 50)
    other = Archive.rebuild(reversed(ELITES))
    backwards = [decide(1, n, other, ("f",), told(other)) for n in reversed(range(50))]
    assert whole == backwards[::-1]


@pytest.mark.parametrize("seed", [0, 2, 2**62])
def test_another_seed_decides_otherwise(seed: int) -> None:
    archive = Archive.rebuild(ELITES)
    assert decisions(archive, ("f",), 50) != decisions(archive, ("f",), 50, seed)


def test_model_seeds_differ_by_ordinal_and_fit_63_bits() -> None:
    seeds = [d.seed for d in decisions(Archive(), (), 500)]
    assert len(set(seeds)) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_starts_from_nothing_and_mends_its_own_share(name: str) -> None:
    strategy = make_strategy(name, 1)
    assert decide(1, 0, Archive(), (), strategy).kind == "first"
    mended = decide(1, 0, Archive(), ("f",), strategy)
    assert (mended.kind, mended.parent) == (("repair", "f") if strategy.repair_share else ("first", None))
    kinds = Counter(d.kind for d in decisions(Archive.rebuild(ELITES), ("f",), 400, name=name))
    assert 0.2 < kinds["repair"] / 400 < 0.4 or (strategy.repair_share == kinds["repair"] == 0)
