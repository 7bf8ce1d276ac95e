"""What the search knows: every told candidate, the archive, the failures that wait for a repair.

The state changes in two places only: ``note_decision`` when a proposal is decided, ``tell`` when an
outcome is stored (the archive takes its entry just before, so that both are one transaction). Replaying
the stored rows through the same two rebuilds it exactly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from kforge.search.archive import Archive, Entry, objective_of
from kforge.search.proposer import Message
from kforge.search.selection import DecisionKind
from kforge.search.strategies.base import Strategy, Trial
from kforge.types import (
    BuildFailed,
    CandidateSource,
    CheckFailed,
    Measures,
    Outcome,
    Passed,
    ScreenedOut,
    TimedOut,
)

MAX_REPAIRABLE = 8
MAX_REPAIR_DEPTH = 3
_REPAIRABLE = (ScreenedOut, BuildFailed, CheckFailed, TimedOut)


@dataclass(frozen=True, slots=True)
class Unread:
    """A request, and a reply in which no kernel could be read."""

    asked: tuple[Message, ...]
    reply: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored reply, parsed.

    Attributes:
        source: None when the reply held no candidate.
        unread: what was asked and answered where there is no source, to be asked for again; else None.
    """

    id: str
    ordinal: int
    kind: DecisionKind
    parent: str | None
    source: CandidateSource | None
    unread: Unread | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with its stored outcome; ``measures`` are those of its build, if it was built."""

    candidate: Candidate
    evaluation_id: str
    key: str | None
    outcome: Outcome
    measures: Measures | None
    duplicate: bool


@dataclass(slots=True)
class SearchState:
    """The mutable memory of one run, owned by the loop alone.

    Attributes:
        strategy: chooses parents; told of every decision and outcome, as the archive is.
        judged: told candidates by id, in telling order.
        by_key: evaluation key to the id of the candidate that was told first with it.
        repaired: ids for which a repair, or another reply, was already decided.
        repair_depth: how many repairs in a row led to this candidate.
        evaluations: told candidates that were not exact duplicates; what the budget counts.
    """

    archive: Archive
    strategy: Strategy
    judged: dict[str, Judged] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    repaired: set[str] = field(default_factory=set)
    repair_depth: dict[str, int] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    evaluations: int = 0
    duplicates: int = 0

    def note_decision(self, kind: DecisionKind, parent: str | None) -> None:
        """Remember what is under way: a failure that is being repaired is repaired by no other proposal."""
        if kind in ("repair", "reformat") and parent is not None:
            self.repaired.add(parent)
        elif kind in ("first", "improve"):
            self.strategy.decided(parent)

    def repairable(self) -> tuple[str, ...]:
        """Ids of the newest failures that may be repaired, oldest first."""
        found: list[str] = []
        for candidate_id, judged in reversed(self.judged.items()):
            if len(found) == MAX_REPAIRABLE:
                break
            if self._may_repair(candidate_id, judged):
                found.append(candidate_id)
        return tuple(reversed(found))

    def unread(self) -> tuple[str, ...]:
        """Ids of candidates whose reply held no kernel and was not asked for again, oldest first.

        An empty reply has nothing that could be said more readably.
        """
        return tuple(
            candidate_id
            for candidate_id, judged in self.judged.items()
            if judged.candidate.unread is not None
            and judged.candidate.unread.reply.strip()
            and judged.candidate.kind not in ("reformat", "given")
            and candidate_id not in self.repaired
        )

    def _may_repair(self, candidate_id: str, judged: Judged) -> bool:
        return (
            isinstance(judged.outcome, _REPAIRABLE)
            and judged.candidate.source is not None
            and not judged.duplicate
            and candidate_id not in self.repaired
            and self.repair_depth.get(candidate_id, 0) < MAX_REPAIR_DEPTH
        )

    def recent_failures(self, limit: int) -> tuple[Judged, ...]:
        """The newest told candidates that did not pass, newest first."""
        failed = (j for j in reversed(self.judged.values()) if not isinstance(j.outcome, Passed))
        return tuple(judged for judged, _ in zip(failed, range(limit), strict=False))

    def first_with(self, key: str | None) -> Judged | None:
        """The candidate that was told first with this evaluation key; None when there is none."""
        found = None if key is None else self.by_key.get(key)
        return None if found is None else self.judged[found]

    def tell(self, judged: Judged, *, entered: bool) -> None:
        """Take in one stored outcome: counters, duplicates, repair pool, strategy.

        Args:
            judged: the candidate with its outcome.
            entered: it became the elite of its cell, just before.
        """
        candidate = judged.candidate
        self.judged[candidate.id] = judged
        self.statuses[judged.outcome.status] += 1
        if candidate.kind in ("repair", "reformat") and candidate.parent is not None:
            deeper = 1 if candidate.kind == "repair" else 0
            self.repair_depth[candidate.id] = self.repair_depth.get(candidate.parent, 0) + deeper
        if judged.key is not None:
            self.by_key.setdefault(judged.key, candidate.id)
        if judged.duplicate:
            self.duplicates += 1
        else:
            self.evaluations += 1
        entry = None if judged.duplicate else entry_of(candidate.id, judged.outcome, judged.measures)
        given = candidate.kind == "given"
        self.strategy.tell(Trial(candidate.ordinal, candidate.parent, given, entry, entered))

    def best(self) -> Judged | None:
        """The best elite's candidate; None while nothing passed."""
        best = self.archive.best()
        return None if best is None else self.judged[best.candidate_id]


def entry_of(candidate_id: str, outcome: Outcome, measures: Measures | None) -> Entry | None:
    """What a candidate offers to the archive: nothing unless it passed."""
    if measures is None or not isinstance(outcome, Passed):
        return None
    return Entry(candidate_id, objective_of(outcome), measures)
