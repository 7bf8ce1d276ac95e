"""From the stored rows of a run to what the loop repeats when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kforge.codec import from_json
from kforge.data.records import Candidate as StoredCandidate
from kforge.data.records import Proposal, RunRecords, StoredEvaluation
from kforge.errors import StoreError
from kforge.search.flow import Asked, Parsed
from kforge.search.parse import ParseCandidate, parse_reply
from kforge.search.proposer import Message, signature
from kforge.search.selection import Decision, DecisionKind
from kforge.search.state import Candidate, Unread
from kforge.search.summary import Spend, on_device_s
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
        open: requests that have neither been answered nor given up, by ordinal.
        candidates: every stored candidate, by ordinal.
        told: the evaluated ones in telling order.
    """

    candidates: Mapping[int, Candidate]
    waiting: Mapping[int, Parsed]
    open: Mapping[int, Asked]
    told: tuple[Told, ...]
    spend: Spend

    @property
    def last_ordinal(self) -> int:
        """The highest ordinal that left more than a request that was given up; -1 when there is none."""
        return max((*self.candidates, *self.open), default=-1)

    def without_open_requests(self) -> History:
        """The same, for a proposer that does not keep its requests: they are lost."""
        return replace(self, open={})


def history_of(records: RunRecords, parse_candidate: ParseCandidate) -> History:
    """Read a run's rows.

    Raises:
        StoreError: a row was written by a kforge that knows more than this one.
    """
    answers = {p.ordinal: p for p in records.proposals if p.state == "replied"}
    given_up = sum(p.state == "abandoned" for p in records.proposals)
    spend = Spend(proposals=len(records.proposals), abandoned=given_up)
    for proposal in answers.values():
        if proposal.reply is not None:
            reply = proposal.reply
            model = None if proposal.kind == "given" else signature(proposal.model)[1]
            spend.reply(reply.prompt_tokens, reply.completion_tokens, reply.usd, model)
    texts = {c.id: c.source for c in records.candidates}
    parsed = {
        c.id: _parsed(c, answers[c.ordinal], parse_candidate, texts.get(c.parent_id or ""))
        for c in records.candidates
    }
    told = tuple(Told(parsed[e.candidate_id].candidate, e) for e in records.evaluations)
    for each in told:
        if each.evaluation.value.reused_from is None:
            spend.measurement(on_device_s(each.evaluation.value.seconds))
    evaluated = {each.candidate.id for each in told}
    return History(
        candidates={p.candidate.ordinal: p.candidate for p in parsed.values()},
        waiting={p.candidate.ordinal: p for p in parsed.values() if p.candidate.id not in evaluated},
        open={p.ordinal: _asked(p) for p in records.proposals if p.state == "requested"},
        told=told,
        spend=spend,
    )


def _parsed(
    stored: StoredCandidate, proposal: Proposal, parse_candidate: ParseCandidate, parent_text: str | None
) -> Parsed:
    """A stored candidate, parsed as it was when its reply came in."""
    if stored.source is not None:
        result = parse_candidate(stored.source)
    elif proposal.reply is not None and proposal.kind == "given":
        result = parse_candidate(proposal.reply.text)
    elif proposal.reply is not None:
        result = parse_reply(proposal.reply.text, parse_candidate, parent_text)
    else:
        result = ParseFailed("the reply was not stored")
    source = None if isinstance(result, ParseFailed) or stored.source is None else result
    unread = None
    if source is None and proposal.reply is not None:
        unread = Unread(_messages(proposal), proposal.reply.text)
    candidate = Candidate(stored.id, stored.ordinal, _kind(proposal), stored.parent_id, source, unread)
    return Parsed(candidate, result if isinstance(result, ParseFailed) else None)


def _asked(proposal: Proposal) -> Asked:
    """An open request, word for word as it was made: no change of kforge or of a clock rewords it."""
    parent = proposal.parents[0] if proposal.parents else None
    decision = Decision(proposal.ordinal, _kind(proposal), parent, proposal.inspirations, proposal.seed)
    return Asked(decision, _messages(proposal), proposal.id)


def _messages(proposal: Proposal) -> tuple[Message, ...]:
    try:
        return from_json(tuple[Message, ...], proposal.prompt)
    except ValueError as error:
        raise StoreError(
            f"The prompt of proposal {proposal.ordinal} is damaged.",
            "restore the store from a copy, or start a new run",
        ) from error


def _kind(proposal: Proposal) -> DecisionKind:
    match proposal.kind:
        case "given" | "first" | "repair" | "improve" | "reformat":
            return proposal.kind
        case other:
            raise StoreError(
                f"Proposal {proposal.ordinal} of this run is of kind {other!r}, unknown to this kforge.",
                "pip install --upgrade kforge",
            )
