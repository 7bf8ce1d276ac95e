"""What the loop tells whoever watches: one frozen record per thing that happened, after it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kforge.search.archive import AddStatus
from kforge.search.selection import DecisionKind
from kforge.types import Measures, Outcome

RunState = Literal["finished", "budget", "waiting", "interrupted"]
Limit = Literal["minutes", "device_seconds", "tokens", "usd"]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The loop begins. ``told`` candidates are stored already, ``requeued`` ones wait for an outcome."""

    proposer: str
    offline: bool
    evals_budget: int
    told: int
    requeued: int


@dataclass(frozen=True, slots=True)
class ProposalSent:
    """A proposal is stored and about to be asked for."""

    ordinal: int
    kind: DecisionKind
    attempt: int


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """A reply and its candidate are stored."""

    ordinal: int
    candidate_id: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    seconds: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerAwaited:
    """A proposal waits for its answer at a place that this process does not control.

    Said once, and again when something came that was no answer: ``rejected`` says why.
    """

    ordinal: int
    place: str
    prompt: str
    rejected: str


@dataclass(frozen=True, slots=True)
class CandidateBuilt:
    """A build ended well; the candidate now waits for a device."""

    ordinal: int
    candidate_id: str
    measures: Measures
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class InfraRetried:
    """The infrastructure failed under a candidate or a proposal, which is tried again."""

    ordinal: int
    reason: str
    attempt: int


@dataclass(frozen=True, slots=True)
class CandidateEvaluated:
    """An evaluation is stored.

    ``duplicate``: the run had this outcome already, and it cost nothing. ``device_seconds``: of check and
    bench, none where the outcome was known.
    """

    ordinal: int
    candidate_id: str
    outcome: Outcome
    duplicate: bool
    reused: bool
    evaluations: int
    evals_budget: int
    device_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EliteChanged:
    """A cell of the archive has a new elite. ``best``: it is also the best of the whole archive."""

    ordinal: int
    candidate_id: str
    status: AddStatus
    measures: Measures
    objective: float
    improvement: float
    best: bool


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A limit other than the number of evaluations is near, or reached where ``share`` is 1."""

    limit: Limit | Literal["proposals"]
    reason: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class SessionFailing:
    """A candidate could not be carried to its end: what is under way is finished, and the session ends."""

    ordinal: int
    reason: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A stop signal arrived: 1 drains what is in flight, 2 cancels it."""

    level: Literal[1, 2]
    in_flight: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The loop is over and the run's state is stored."""

    state: RunState


Event = (
    RunStarted
    | ProposalSent
    | ReplyReceived
    | AnswerAwaited
    | CandidateBuilt
    | InfraRetried
    | CandidateEvaluated
    | EliteChanged
    | BudgetWarning
    | SessionFailing
    | StopRequested
    | RunEnded
)
