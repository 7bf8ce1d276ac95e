"""The end of a run in numbers: what the reports print and the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kforge.search.accounts import Account
from kforge.search.archive import Entry
from kforge.search.events import CandidateEvaluated, Event, ProposalSent, ReplyReceived, RunState
from kforge.search.state import SearchState
from kforge.types import Measures, Passed, StageSeconds


@dataclass(frozen=True, slots=True)
class BestCandidate:
    """The best elite of a run, with its file."""

    candidate_id: str
    ordinal: int
    source: str
    measures: Measures
    objective: float
    outcome: Passed


@dataclass(frozen=True, slots=True)
class Elite:
    """One filled cell of the archive."""

    candidate_id: str
    ordinal: int
    measures: Measures
    objective: float
    speedup: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run as a whole; only ``seconds`` and ``device_idle_s`` count this session alone.

    Attributes:
        statuses: told candidates by outcome status, duplicates included.
        evaluations: told candidates without exact duplicates; what ``evals_budget`` limits.
        proposals: requests sent, repeated ones included; ``abandoned`` of them got no usable answer and
            ``unanswered`` ones are open.
        models: who wrote the replies, where the proposer only passed them on.
        device_seconds: what checks and benchmarks took.
        device_idle_s: seconds during which a device stood idle although a built candidate waited.
    """

    state: RunState
    proposer: str
    offline: bool
    best: BestCandidate | None
    elites: tuple[Elite, ...]
    statuses: Mapping[str, int]
    coverage: float
    qd_score: float
    evaluations: int
    evals_budget: int
    duplicates: int
    proposals: int
    abandoned: int
    unanswered: int
    models: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    usd: float
    device_seconds: float
    accounts: tuple[Account, ...]
    seconds: float
    device_idle_s: float
    strategy: str


def on_device_s(seconds: StageSeconds) -> float:
    """Of the stages that hold the device."""
    return seconds.check + seconds.bench


@dataclass(slots=True)
class Spend:
    """What proposals cost so far, all sessions together.

    Attributes:
        abandoned: requests that were given up before this session.
    """

    proposals: int = 0
    replies: int = 0
    abandoned: int = 0
    models: set[str] = field(default_factory=set)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    device_seconds: float = 0.0
    measured: int = 0

    @property
    def tokens(self) -> int:
        """Of prompts and replies."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def device_seconds_each(self) -> float:
        """Mean device time of a measured candidate; none before the first."""
        return self.device_seconds / self.measured if self.measured else 0.0

    @property
    def open(self) -> int:
        """Requests that wait for their answer, where none was given up in this session."""
        return self.proposals - self.replies - self.abandoned

    def note(self, event: Event) -> None:
        """Count an event of this session."""
        if isinstance(event, ProposalSent):
            self.proposals += 1
        elif isinstance(event, ReplyReceived):
            self.reply(event.prompt_tokens, event.completion_tokens, event.usd, event.model)
        elif isinstance(event, CandidateEvaluated):
            self.measurement(event.device_seconds)

    def measurement(self, device_seconds: float) -> None:
        """Count what a told candidate took of the device."""
        if device_seconds > 0.0:
            self.device_seconds += device_seconds
            self.measured += 1

    def reply(self, prompt_tokens: int, completion_tokens: int, usd: float, model: str | None) -> None:
        """Count one answered request."""
        if model is not None:
            self.models.add(model)
        self.replies += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.usd += usd


def summarise(
    search: SearchState,
    spend: Spend,
    *,
    state: RunState,
    proposer: str,
    strategy: str,
    offline: bool,
    unanswered: int,
    evals_budget: int,
    accounts: tuple[Account, ...],
    seconds: float,
    device_idle_s: float,
) -> RunSummary:
    """The summary of a run as it stands.

    Args:
        search: everything told so far, earlier sessions included.
        spend: what proposals cost so far.
        state: how the session ended.
        proposer: its name.
        strategy: who chose parents.
        offline: whether no model is asked.
        unanswered: requests that are still open.
        evals_budget: evaluations that were asked for.
        accounts: what each model and kind of proposal cost, and what came of it.
        seconds: wall time of this session.
        device_idle_s: seconds a device stood idle although a built candidate waited.
    """
    stats = search.archive.stats()
    return RunSummary(
        state=state,
        proposer=proposer,
        offline=offline,
        best=_best(search),
        elites=tuple(_elite(search, entry) for entry in search.archive.elites()),
        statuses=dict(sorted(search.statuses.items())),
        coverage=stats.coverage,
        qd_score=stats.qd_score,
        evaluations=search.evaluations,
        evals_budget=evals_budget,
        duplicates=search.duplicates,
        proposals=spend.proposals,
        abandoned=spend.proposals - spend.replies - unanswered,
        unanswered=unanswered,
        models=tuple(sorted(spend.models)),
        prompt_tokens=spend.prompt_tokens,
        completion_tokens=spend.completion_tokens,
        usd=spend.usd,
        device_seconds=spend.device_seconds,
        accounts=accounts,
        seconds=seconds,
        device_idle_s=device_idle_s,
        strategy=strategy,
    )


def _best(search: SearchState) -> BestCandidate | None:
    entry = search.archive.best()
    if entry is None:
        return None
    judged = search.judged[entry.candidate_id]
    source = judged.candidate.source
    return BestCandidate(
        candidate_id=entry.candidate_id,
        ordinal=judged.candidate.ordinal,
        source="" if source is None else source.text,
        measures=entry.measures,
        objective=entry.objective,
        outcome=_passed(search, entry),
    )


def _elite(search: SearchState, entry: Entry) -> Elite:
    ordinal = search.judged[entry.candidate_id].candidate.ordinal
    speedup = _passed(search, entry).speedup
    return Elite(entry.candidate_id, ordinal, entry.measures, entry.objective, speedup)


def _passed(search: SearchState, entry: Entry) -> Passed:
    outcome = search.judged[entry.candidate_id].outcome
    if not isinstance(outcome, Passed):
        raise AssertionError(f"elite {entry.candidate_id} is {outcome.status}")
    return outcome
