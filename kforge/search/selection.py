"""What to ask for next: kind of proposal, parent, inspirations and model seed of one ordinal.

A decision depends on (seed, ordinal, archive, repairable failures) and on nothing else: no generator
state, no clock, no random ids. The same state always decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kforge.clock import decision_rng
from kforge.search.archive import Archive, Entry

# given: the user's own file, nobody is asked. reformat: the one cheap turn after a reply without a kernel.
DecisionKind = Literal["given", "first", "repair", "improve", "reformat"]

REPAIR_SHARE = 0.3
BEST_PARENT_SHARE = 0.5
MAX_INSPIRATIONS = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """One proposal to ask for.

    Attributes:
        parent: id of the candidate to improve, repair or ask for again; None for a first attempt.
        inspirations: ids of elites of other cells, shown but not mutated.
        seed: sampling seed for the proposer, 63 bits.
    """

    ordinal: int
    kind: DecisionKind
    parent: str | None
    inspirations: tuple[str, ...]
    seed: int


def decide(
    seed: int,
    ordinal: int,
    archive: Archive,
    repairable: Sequence[str],
    *,
    given: int = 0,
    unread: Sequence[str] = (),
) -> Decision:
    """Decide the proposal of one ordinal.

    The user's own files come first. A reply in which no kernel could be read is asked for again, once.
    Repair takes 30 % of the proposals while failures wait, and all of them while the archive is empty;
    the newest failure goes first. Otherwise the parent is the best elite half of the time and a uniformly
    drawn elite the other half. Up to two elites of other cells than the parent's are inspirations.

    Args:
        seed: the run's seed.
        ordinal: number of the candidate in its run.
        archive: the archive as told so far.
        repairable: ids of failed candidates that may be repaired, oldest first.
        given: how many files the user gave.
        unread: ids of candidates whose reply held no kernel and was not asked for again, oldest first.
    """
    model_seed = decision_rng(seed, "model", ordinal).getrandbits(63)
    if ordinal < given:
        return Decision(ordinal, "given", None, (), model_seed)
    if unread:
        return Decision(ordinal, "reformat", unread[0], (), model_seed)
    elites = archive.elites()
    kind = _kind(seed, ordinal, bool(elites), bool(repairable))
    if kind == "first":
        return Decision(ordinal, kind, None, (), model_seed)
    if kind == "repair":
        return Decision(ordinal, kind, repairable[-1], _inspirations(seed, ordinal, elites, None), model_seed)
    parent = _parent(seed, ordinal, elites)
    return Decision(
        ordinal, kind, parent.candidate_id, _inspirations(seed, ordinal, elites, parent), model_seed
    )


def _kind(seed: int, ordinal: int, have_elites: bool, have_failures: bool) -> DecisionKind:
    if not have_elites:
        return "repair" if have_failures else "first"
    repairs = decision_rng(seed, "kind", ordinal).random() < REPAIR_SHARE
    return "repair" if have_failures and repairs else "improve"


def _parent(seed: int, ordinal: int, elites: tuple[Entry, ...]) -> Entry:
    rng = decision_rng(seed, "parent", ordinal)
    if rng.random() < BEST_PARENT_SHARE:
        return max(elites, key=lambda entry: entry.objective)  # the lowest cell among equals
    return rng.choice(elites)


def _inspirations(
    seed: int, ordinal: int, elites: tuple[Entry, ...], parent: Entry | None
) -> tuple[str, ...]:
    """Elites of other cells than the parent's; a cell holds one elite, so excluding it is enough."""
    others = [entry.candidate_id for entry in elites if parent is None or entry != parent]
    rng = decision_rng(seed, "inspirations", ordinal)
    return tuple(rng.sample(others, min(MAX_INSPIRATIONS, len(others))))
