"""From the stored rows of a run to what the loop repeats when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kforge.data.records import Candidate as StoredCandidate
from kforge.data.records import Proposal, RunRecords, StoredEvaluation
from kforge.errors import StoreError
from kforge.evolve.flow import Parsed
from kforge.evolve.parse import ParseCandidate, parse_reply
from kforge.evolve.selection import DecisionKind
from kforge.evolve.state import Candidate
from kforge.evolve.summary import Spend
from kforge.types import ParseFailed


@dataclass(frozen=True, slots=True)
class Told:
    """A candidate with its stored evaluation."""

    candidate: Candidate
    evaluation: StoredEvaluation


@dataclass(frozen=True, slots=True)
class History:
    """What earlier sessions left.

    Attributes:
        waiting: candidates without an evaluation, by ordinal.
        candidates: every stored candidate, by ordinal.
        told: the evaluated ones in telling order.
    """

    candidates: Mapping[int, Candidate]
    waiting: Mapping[int, Parsed]
    told: tuple[Told, ...]
    spend: Spend


def history_of(records: RunRecords, parse_candidate: ParseCandidate) -> History:
    """Read a run's rows.

    Raises:
        StoreError: a row was written by a kforge that knows more than this one.
    """
    answers = {p.ordinal: p for p in records.proposals if p.state == "replied"}
    spend = Spend(proposals=len(records.proposals))
    for proposal in answers.values():
        if proposal.reply is not None:
            reply = proposal.reply
            spend.reply(reply.prompt_tokens, reply.completion_tokens, reply.usd)
    parsed = {c.id: _parsed(c, answers[c.ordinal], parse_candidate) for c in records.candidates}
    told = tuple(Told(parsed[e.candidate_id].candidate, e) for e in records.evaluations)
    evaluated = {each.candidate.id for each in told}
    return History(
        candidates={p.candidate.ordinal: p.candidate for p in parsed.values()},
        waiting={p.candidate.ordinal: p for p in parsed.values() if p.candidate.id not in evaluated},
        told=told,
        spend=spend,
    )


def _parsed(stored: StoredCandidate, proposal: Proposal, parse_candidate: ParseCandidate) -> Parsed:
    """A stored candidate, parsed as it was when its reply came in."""
    if stored.source is not None:
        result = parse_candidate(stored.source)
    elif proposal.reply is not None:
        result = parse_reply(proposal.reply.text, parse_candidate)
    else:
        result = ParseFailed("the reply was not stored")
    source = None if isinstance(result, ParseFailed) or stored.source is None else result
    candidate = Candidate(stored.id, stored.ordinal, _kind(proposal), stored.parent_id, source)
    return Parsed(candidate, result if isinstance(result, ParseFailed) else None)


def _kind(proposal: Proposal) -> DecisionKind:
    match proposal.kind:
        case "first" | "repair" | "improve":
            return proposal.kind
        case other:
            raise StoreError(
                f"Proposal {proposal.ordinal} of this run is of kind {other!r}, unknown to this kforge.",
                "pip install --upgrade kforge",
            )
