"""What each model and each kind of proposal cost, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kforge.data.records import Candidate, Proposal, RunRecords, StoredEvaluation
from kforge.types import ParseFailed, Passed

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


def accounts_of(records: RunRecords) -> tuple[Account, ...]:
    """The accounts of every model, then of every kind of proposal; most proposals first."""
    told = _without_duplicates(records.evaluations)
    candidates = {candidate.proposal_id: candidate for candidate in records.candidates}
    elites = [e.candidate_id for e in records.archive_events if e.event.status != "rejected"]
    found: list[Account] = []
    sides: tuple[AccountBy, ...] = ("model", "kind")
    for by in sides:
        groups: dict[str, list[Proposal]] = {}
        for proposal in records.proposals:
            groups.setdefault(proposal.model if by == "model" else proposal.kind, []).append(proposal)
        accounts = [_account(by, name, group, candidates, told, elites) for name, group in groups.items()]
        found += sorted(accounts, key=lambda account: (-account.proposals, account.name))
    return tuple(found)


def _without_duplicates(evaluations: Iterable[StoredEvaluation]) -> dict[str, StoredEvaluation]:
    """Evaluations by candidate id, without those whose outcome the run had already."""
    seen: set[str] = set()
    told: dict[str, StoredEvaluation] = {}
    for evaluation in evaluations:
        key = evaluation.value.key
        if key is not None and key in seen:
            continue
        if key is not None:
            seen.add(key)
        told[evaluation.candidate_id] = evaluation
    return told


def _account(
    by: AccountBy,
    name: str,
    proposals: list[Proposal],
    candidates: dict[str, Candidate],
    told: dict[str, StoredEvaluation],
    elites: list[str],
) -> Account:
    replies = [proposal.reply for proposal in proposals if proposal.reply is not None]
    own = [candidates[proposal.id] for proposal in proposals if proposal.id in candidates]
    ids = {candidate.id for candidate in own}
    outcomes = {candidate_id: told[candidate_id].value.outcome for candidate_id in ids & told.keys()}
    speedups = [outcome.speedup for outcome in outcomes.values() if isinstance(outcome, Passed)]
    unread = {candidate_id for candidate_id, out in outcomes.items() if isinstance(out, ParseFailed)}
    return Account(
        by=by,
        name=name,
        proposals=len(proposals),
        replies=len(replies),
        parsed=sum(candidate.source is not None and candidate.id not in unread for candidate in own),
        passed=len(speedups),
        elites=sum(candidate_id in ids for candidate_id in elites),
        best_speedup=max(speedups, default=None),
        tokens=sum(reply.prompt_tokens + reply.completion_tokens for reply in replies),
        usd=sum(reply.usd for reply in replies),
    )
