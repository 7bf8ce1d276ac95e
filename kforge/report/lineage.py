"""From the first ancestor to the winner: what each step changed, and what came of it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kforge.data.records import Candidate, RunRecords, StoredEvaluation
from kforge.report.curve import Interval, interval_of
from kforge.report.failures import MAX_REASON_CHARS, reason_of, shortened
from kforge.types import Passed

MAX_STEPS = 30
MAX_DIFF_LINES = 400
MAX_LINE_CHARS = 400
# difflib may need time in the square of the lines; a candidate of a reasonable size stays far below.
MAX_COMPARED_LINES = 2_000

DiffKind = Literal["added", "removed", "hunk", "same"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a unified diff, without its mark."""

    kind: DiffKind
    text: str


@dataclass(frozen=True, slots=True)
class Diff:
    """What a step changed.

    Attributes:
        lines: of the unified diff, cut after the first 400; ``hidden`` counts the others.
        note: why there is nothing to compare; empty when there is a diff.
    """

    lines: tuple[DiffLine, ...]
    added: int
    removed: int
    hidden: int
    note: str


@dataclass(frozen=True, slots=True)
class Step:
    """One candidate on the way to the winner.

    Attributes:
        status: its outcome; ``waiting`` without an evaluation.
        interval: its speedup, if it passed.
        reason: why it failed, if it did.
    """

    ordinal: int
    kind: str
    model: str
    usd: float
    tokens: int
    status: str
    interval: Interval | None
    reason: str
    diff: Diff


@dataclass(frozen=True, slots=True)
class Lineage:
    """The steps, oldest first; ``hidden`` steps between the first and the second shown are left out."""

    steps: tuple[Step, ...]
    hidden: int


def lineage_of(records: RunRecords, winner_id: str | None) -> Lineage:
    """The line of parents that ends in the winner; empty without one."""
    chain = _chain({candidate.id: candidate for candidate in records.candidates}, winner_id)
    shown = chain if len(chain) <= MAX_STEPS else [chain[0], *chain[-(MAX_STEPS - 1) :]]
    parents = {child.id: parent for parent, child in pairwise(chain)}
    evaluations = {evaluation.candidate_id: evaluation for evaluation in records.evaluations}
    proposals = {proposal.id: proposal for proposal in records.proposals}
    steps = []
    for candidate in shown:
        proposal = proposals[candidate.proposal_id]
        status, interval, reason = _ending(evaluations.get(candidate.id))
        reply = proposal.reply
        steps.append(
            Step(
                ordinal=candidate.ordinal,
                kind=proposal.kind,
                model=proposal.model,
                usd=0.0 if reply is None else reply.usd,
                tokens=0 if reply is None else reply.prompt_tokens + reply.completion_tokens,
                status=status,
                interval=interval,
                reason=reason,
                diff=diff_of(parents.get(candidate.id), candidate),
            )
        )
    return Lineage(tuple(steps), len(chain) - len(shown))


def diff_of(parent: Candidate | None, child: Candidate) -> Diff:
    """What ``child`` changed in its parent's source."""
    if parent is None:
        return Diff((), 0, 0, 0, "the first of its line")
    if child.source is None:
        return Diff((), 0, 0, 0, "the reply held no kernel")
    if parent.source is None:
        return Diff((), 0, 0, 0, "its parent's reply held no kernel")
    before, after = parent.source.splitlines(), child.source.splitlines()
    if max(len(before), len(after)) > MAX_COMPARED_LINES:
        return Diff((), 0, 0, 0, f"too long to compare: {len(before):,} lines, then {len(after):,}")
    lines = [_line(text) for text in list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]]
    return Diff(
        lines=tuple(lines[:MAX_DIFF_LINES]),
        added=sum(line.kind == "added" for line in lines),
        removed=sum(line.kind == "removed" for line in lines),
        hidden=max(0, len(lines) - MAX_DIFF_LINES),
        note="" if lines else "nothing: the same text",
    )


def _line(text: str) -> DiffLine:
    kinds: dict[str, DiffKind] = {"+": "added", "-": "removed", "@": "hunk"}
    kind = kinds.get(text[:1], "same")
    return DiffLine(kind, shortened(text if kind == "hunk" else text[1:], MAX_LINE_CHARS))


def _chain(candidates: dict[str, Candidate], winner_id: str | None) -> list[Candidate]:
    chain: list[Candidate] = []
    seen: set[str] = set()  # a damaged store may hold a circle
    at = None if winner_id is None else candidates.get(winner_id)
    while at is not None and at.id not in seen:
        seen.add(at.id)
        chain.append(at)
        at = None if at.parent_id is None else candidates.get(at.parent_id)
    return chain[::-1]


def _ending(evaluation: StoredEvaluation | None) -> tuple[str, Interval | None, str]:
    if evaluation is None:
        return "waiting", None, ""
    outcome = evaluation.value.outcome
    interval = interval_of(outcome) if isinstance(outcome, Passed) else None
    return outcome.status, interval, shortened(reason_of(outcome), MAX_REASON_CHARS)
