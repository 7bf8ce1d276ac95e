"""What to ask for next: kind of proposal, parent, inspirations and model seed of one ordinal.

A decision depends on (seed, ordinal, archive, repairable failures, what the strategy was told) and on
nothing else: no generator state, no clock, no random ids. The same state always decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kforge.clock import decision_rng
from kforge.search.archive import Archive, Entry
from kforge.search.strategies.base import Strategy

# given: the user's own file, nobody is asked. reformat: the one cheap turn after a reply without a kernel.
DecisionKind = Literal["given", "first", "repair", "improve", "reformat"]

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
    strategy: Strategy,
    *,
    given: int = 0,
    unread: Sequence[str] = (),
) -> Decision:
    """Decide the proposal of one ordinal.

    The user's own files come first. A reply in which no kernel could be read is asked for again, once.
    Repair takes the strategy's share of the proposals while failures wait, and all of them while the archive
    is empty; the newest failure goes first. Otherwise the strategy names the parent, or asks for an attempt
    from nothing. Up to two elites of other cells than the parent's are inspirations.

    Args:
        seed: the run's seed.
        ordinal: number of the candidate in its run.
        archive: the archive as told so far.
        repairable: ids of failed candidates that may be repaired, oldest first.
        strategy: chooses parents; it was told what the archive was told.
        given: how many files the user gave.
        unread: ids of candidates whose reply held no kernel and was not asked for again, oldest first.
    """
    model_seed = decision_rng(seed, "model", ordinal).getrandbits(63)
    if ordinal < given:
        return Decision(ordinal, "given", None, (), model_seed)
    if unread:
        return Decision(ordinal, "reformat", unread[0], (), model_seed)
    elites = archive.elites()
    if repairable and _repairs(seed, ordinal, bool(elites), strategy.repair_share):
        shown = _inspirations(seed, ordinal, elites, None)
        return Decision(ordinal, "repair", repairable[-1], shown, model_seed)
    parent = strategy.parent(ordinal, archive) if elites else None
    if parent is None:
        return Decision(ordinal, "first", None, (), model_seed)
    shown = _inspirations(seed, ordinal, elites, parent)
    return Decision(ordinal, "improve", parent.candidate_id, shown, model_seed)


def _repairs(seed: int, ordinal: int, have_elites: bool, share: float) -> bool:
    if not have_elites:
        return share > 0.0
    return decision_rng(seed, "kind", ordinal).random() < share


def _inspirations(
    seed: int, ordinal: int, elites: tuple[Entry, ...], parent: Entry | None
) -> tuple[str, ...]:
    """Elites of other cells than the parent's."""
    own = None if parent is None else parent.measures.cell
    others = [entry.candidate_id for entry in elites if entry.measures.cell != own]
    rng = decision_rng(seed, "inspirations", ordinal)
    return tuple(rng.sample(others, min(MAX_INSPIRATIONS, len(others))))
