"""What each model and each kind of proposal cost, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from kforge.data.records import Candidate, Proposal, RunRecords, StoredEvaluation
from kforge.types import Outcome, Passed

AccountBy = Literal["model", "kind"]


@dataclass(frozen=True, slots=True)
class Account:
    """One model, or one kind of proposal, over a whole run.

    Attributes:
        name: the model as its proposals name it, or the kind.
        proposals: requests sent, repeated ones included.
        parsed: replies that held a candidate which the parser could read.
        passed: candidates that passed; exact duplicates of earlier ones are not counted.
        elites: times that a cell of the archive got a new elite from here.
        best_speedup: of those that passed; None where none did.
        tokens: of prompts and replies, reasoning included.
    """

    by: AccountBy
    name: str
    proposals: int
    replies: int
    parsed: int
    passed: int
    elites: int
    best_speedup: float | None
    tokens: int
    usd: float

    @property
    def usd_per_passed(self) -> float | None:
        """Dollars per kernel that passed; None where none did."""
        return self.usd / self.passed if self.passed else None


@dataclass(frozen=True, slots=True)
class _Results:
    """What came of a run's proposals: candidate by proposal id; outcome and new elites by candidate id."""

    candidates: Mapping[str, Candidate]
    outcomes: Mapping[str, Outcome]
    elites: Counter[str]


def accounts_of(records: RunRecords) -> tuple[Account, ...]:
    """The accounts of every model, then of every kind of proposal; most proposals first."""
    results = _Results(
        candidates={candidate.proposal_id: candidate for candidate in records.candidates},
        outcomes=_outcomes_without_duplicates(records.evaluations),
        elites=Counter(e.candidate_id for e in records.archive_events if e.event.status != "rejected"),
    )
    found: list[Account] = []
    sides: tuple[AccountBy, ...] = ("model", "kind")
    for by in sides:
        groups: dict[str, list[Proposal]] = {}
        for proposal in records.proposals:
            groups.setdefault(proposal.model if by == "model" else proposal.kind, []).append(proposal)
        accounts = [_account(by, name, group, results) for name, group in groups.items()]
        found += sorted(accounts, key=lambda account: (-account.proposals, account.name))
    return tuple(found)


def _outcomes_without_duplicates(evaluations: Iterable[StoredEvaluation]) -> dict[str, Outcome]:
    """Outcomes by candidate id, without those that the run had already."""
    seen: set[str] = set()
    outcomes: dict[str, Outcome] = {}
    for evaluation in evaluations:
        key = evaluation.value.key
        if key is not None and key in seen:
            continue
        if key is not None:
            seen.add(key)
        outcomes[evaluation.candidate_id] = evaluation.value.outcome
    return outcomes


def _account(by: AccountBy, name: str, proposals: list[Proposal], results: _Results) -> Account:
    replies = [proposal.reply for proposal in proposals if proposal.reply is not None]
    own = [results.candidates[proposal.id] for proposal in proposals if proposal.id in results.candidates]
    outcomes = [results.outcomes[candidate.id] for candidate in own if candidate.id in results.outcomes]
    speedups = [outcome.speedup for outcome in outcomes if isinstance(outcome, Passed)]
    return Account(
        by=by,
        name=name,
        proposals=len(proposals),
        replies=len(replies),
        parsed=sum(candidate.source is not None for candidate in own),
        passed=len(speedups),
        elites=sum(results.elites[candidate.id] for candidate in own),
        best_speedup=max(speedups, default=None),
        tokens=sum(reply.prompt_tokens + reply.completion_tokens for reply in replies),
        usd=sum(reply.usd for reply in replies),
    )
