"""Candidates that did not pass, by class: how many, why, and one of each to look at."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from kforge.data.records import RunRecords, StoredEvaluation
from kforge.types import BuildFailed, Outcome, Passed

MAX_REASONS = 3
MAX_REASON_CHARS = 240
MAX_EXAMPLE_CHARS = 2_000
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason in the words of its first candidate, and how many gave it; numbers may differ."""

    text: str
    count: int


@dataclass(frozen=True, slots=True)
class FailureClass:
    """All candidates that ended with one status.

    Attributes:
        share: of all told candidates.
        reasons: the commonest; ``other_reasons`` counts the kinds of reason that are left out.
        example: the whole reason of the newest one, and what the compiler said.
    """

    status: str
    count: int
    share: float
    reasons: tuple[Reason, ...]
    other_reasons: int
    example_ordinal: int
    example: str


def failures_of(records: RunRecords) -> tuple[FailureClass, ...]:
    """The classes of failure, the most frequent first."""
    classes: dict[str, list[StoredEvaluation]] = {}
    for evaluation in records.evaluations:
        if not isinstance(evaluation.value.outcome, Passed):
            classes.setdefault(evaluation.value.outcome.status, []).append(evaluation)
    ordinals = {candidate.id: candidate.ordinal for candidate in records.candidates}
    found = [_class(members, ordinals, len(records.evaluations)) for members in classes.values()]
    return tuple(sorted(found, key=lambda each: (-each.count, each.status)))


def reason_of(outcome: Outcome) -> str:
    """Why a candidate did not pass; empty when it did."""
    return "" if isinstance(outcome, Passed) else outcome.reason


def shortened(text: str, max_chars: int) -> str:
    """``text``, or its beginning and the number of characters left out."""
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]} … ({len(text) - max_chars:,} more characters)"


def _class(members: list[StoredEvaluation], ordinals: dict[str, int], told: int) -> FailureClass:
    first_words: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for member in members:
        line = (reason_of(member.value.outcome).strip().splitlines() or ["no reason was given"])[0]
        # Line numbers, sizes and errors differ between failures of one kind.
        kind = _NUMBER.sub("#", line[:MAX_REASON_CHARS])
        first_words.setdefault(kind, shortened(line, MAX_REASON_CHARS))
        counts[kind] += 1
    newest = members[-1]
    outcome = newest.value.outcome
    text = outcome.log if isinstance(outcome, BuildFailed) and outcome.log.strip() else reason_of(outcome)
    return FailureClass(
        status=outcome.status,
        count=len(members),
        share=len(members) / told,
        reasons=tuple(Reason(first_words[kind], n) for kind, n in counts.most_common(MAX_REASONS)),
        other_reasons=max(0, len(counts) - MAX_REASONS),
        example_ordinal=ordinals[newest.candidate_id],
        example=shortened(text.strip(), MAX_EXAMPLE_CHARS),
    )
