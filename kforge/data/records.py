"""What the store returns and takes: frozen records, times in UTC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from kforge.types import BuildFacts, DeviceInfo, Measures, Outcome, Scalar, StageSeconds

RunState = Literal["running", "finished", "budget", "waiting", "interrupted"]
ProposalState = Literal["requested", "replied", "abandoned"]
ArchiveStatus = Literal["new", "improved", "rejected"]


@dataclass(frozen=True, slots=True)
class Run:
    """One search over one task. ``config`` and ``summary`` are the driver's own JSON objects."""

    id: str
    name: str
    task_id: str
    size: str
    language: str
    seed: int
    config: Mapping[str, object]
    state: RunState
    summary: Mapping[str, object] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run with its counts, for lists; ``usd`` is what answered proposals cost."""

    run: Run
    proposals: int
    evaluations: int
    passed: int
    best_objective: float | None
    best_candidate_id: str | None
    usd: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer and what it cost.

    ``model`` replaces the proposal's when it became known with the answer; read back, it is there only.
    """

    text: str
    reasoning: str | None
    prompt_tokens: int
    completion_tokens: int
    usd: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """One model request with its provenance.

    ``attempt`` counts requests for the same ordinal; ``ended_at`` is when it was answered or given up.
    """

    id: str
    ordinal: int
    attempt: int
    kind: str
    parents: tuple[str, ...]
    inspirations: tuple[str, ...]
    prompt: str
    model: str
    seed: int
    state: ProposalState
    reply: Reply | None
    requested_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Source and lineage. ``source`` is None when the reply held no candidate."""

    id: str
    proposal_id: str
    ordinal: int
    source_hash: str | None
    source: str | None
    parent_id: str | None
    tune: Mapping[str, Scalar]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Build:
    """End of one candidate's build stage."""

    candidate_id: str
    key: str | None
    ok: bool
    log: str
    facts: BuildFacts | None
    measures: Measures | None
    seconds: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ArchiveEvent:
    """What the archive did with a candidate. ``cell`` is text, for example ``1/2/0``.

    Raises:
        ValueError: a figure is not finite; one of those would lose the archive at its next rebuild.
    """

    status: ArchiveStatus
    cell: str
    objective: float
    improvement: float

    def __post_init__(self) -> None:
        for name in ("objective", "improvement"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} of an archive event is {getattr(self, name)}, not a finite number")


@dataclass(frozen=True, slots=True)
class StoredArchiveEvent:
    """An archive event in its place: ``seq`` is that of the evaluation it belongs to."""

    seq: int
    candidate_id: str
    event: ArchiveEvent


@dataclass(frozen=True, slots=True)
class NewEvaluation:
    """An outcome about to be stored.

    Attributes:
        key: evaluation key for reuse; None when there was nothing to identify (no source).
        objective: what the archive compares; None unless the candidate earned one.
        reused_from: id of the evaluation whose outcome this repeats.

    Raises:
        ValueError: the objective is not a finite number.
    """

    key: str | None
    outcome: Outcome
    objective: float | None = None
    measures: Measures | None = None
    seconds: StageSeconds = field(default_factory=StageSeconds)
    device: DeviceInfo | None = None
    reused_from: str | None = None

    def __post_init__(self) -> None:
        if self.objective is not None and not math.isfinite(self.objective):
            raise ValueError(f"the objective of an evaluation is {self.objective}, not a finite number")


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """An evaluation as stored; ``seq`` is the order of telling within its run, from 0."""

    id: str
    run_id: str
    candidate_id: str
    seq: int
    created_at: datetime
    value: NewEvaluation


@dataclass(frozen=True, slots=True)
class InfraEvent:
    """kforge itself failed on a candidate and tried again."""

    candidate_id: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RunRecords:
    """Everything of one run, for resume and reports.

    Proposals are in order of (ordinal, attempt), candidates of ordinal, evaluations and archive
    events of telling; builds are keyed by candidate id.
    """

    run: Run
    proposals: tuple[Proposal, ...]
    candidates: tuple[Candidate, ...]
    builds: Mapping[str, Build]
    evaluations: tuple[StoredEvaluation, ...]
    archive_events: tuple[StoredArchiveEvent, ...]
    infra_events: tuple[InfraEvent, ...]
