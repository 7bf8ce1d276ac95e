"""Runs made of records, without a store or a device: every edge that a page may meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from kforge.data.records import (
    ArchiveEvent,
    Candidate,
    InfraEvent,
    NewEvaluation,
    Proposal,
    Reply,
    Run,
    RunRecords,
    RunState,
    StoredArchiveEvent,
    StoredEvaluation,
)
from kforge.eval.candidate import parse_candidate
from kforge.report.data import Report, report_of
from kforge.search.archive import objective_of
from kforge.search.retell import summary_of
from kforge.types import DeviceInfo, Measures, Outcome, ParseFailed, Passed, StageSeconds
from tests.evolve.world import DEVICE, candidate_text, passed

START = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
CELL = Measures(1, 1, 1)
CONFIG: Mapping[str, object] = {"task": "kb/L9/1", "models": ["offline"], "evals": 8, "track": "sealed"}


@dataclass(frozen=True, slots=True)
class Told:
    """One proposal and what came of it; ``outcome`` None: not evaluated, ``reply`` None: not answered."""

    outcome: Outcome | None = None
    kind: str = "improve"
    model: str = "offline"
    parent: int | None = None
    source: str | None = field(default_factory=lambda: candidate_text("1"))
    measures: Measures | None = CELL
    key: str | None = None
    answered: bool = True
    usd: float = 0.25


def run_row(name: str = "demo", task_id: str = "kb/L9/1", state: RunState = "finished") -> Run:
    return Run("r", name, task_id, "small", "sycl", 7, CONFIG, state, None, START, START)


def records_of(
    told: Sequence[Told],
    run: Run | None = None,
    device: DeviceInfo | None = DEVICE,
    infra_events: tuple[InfraEvent, ...] = (),
) -> RunRecords:
    """Records of a run whose proposals were told in order; candidate n has id ``c<n>``."""
    evaluations: list[StoredEvaluation] = []
    events: list[StoredArchiveEvent] = []
    seen: set[str] = set()
    for number, each in enumerate(told):
        if each.outcome is None:
            continue
        fresh = each.key is None or each.key not in seen
        seen |= {each.key} if each.key is not None else set()
        objective = objective_of(each.outcome) if isinstance(each.outcome, Passed) and fresh else None
        value = NewEvaluation(
            key=each.key or f"key-{number}",
            outcome=each.outcome,
            objective=objective,
            measures=each.measures if isinstance(each.outcome, Passed) else None,
            seconds=StageSeconds(0.25, 0.5, 1.0, 1.75),
            device=device,
            reused_from=None if fresh else "e0",
        )
        seq = len(evaluations)
        evaluations.append(StoredEvaluation(f"e{number}", "r", f"c{number}", seq, _at(number), value))
        if objective is not None:
            event = ArchiveEvent("new", "1/1/1", objective, 0.5)
            events.append(StoredArchiveEvent(seq, f"c{number}", event))
    return RunRecords(
        run=run or run_row(),
        proposals=tuple(_proposal(number, each) for number, each in enumerate(told)),
        candidates=tuple(_candidate(n, each) for n, each in enumerate(told) if each.answered),
        builds={},
        evaluations=tuple(evaluations),
        archive_events=tuple(events),
        infra_events=infra_events,
    )


def report(records: RunRecords) -> Report:
    return report_of(records, summary_of(records, parse_candidate), made_at=START, made_by="0.0.test")


def prose(model: str = "openai: talker") -> Told:
    """A reply without a kernel."""
    return Told(ParseFailed("no fenced block"), kind="first", model=model, source=None)


def faster(speedup: float, number: int, parent: int | None, cell: tuple[int, int, int]) -> Told:
    """A kernel that passed in a cell."""
    return Told(passed(speedup), parent=parent, measures=Measures(*cell), source=candidate_text(str(number)))


def renamed(device: DeviceInfo, name: str) -> DeviceInfo:
    return replace(device, name=name, driver=name, arch=name)


def _at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def _candidate(number: int, each: Told) -> Candidate:
    parent = None if each.parent is None else f"c{each.parent}"
    return Candidate(f"c{number}", f"p{number}", number, None, each.source, parent, {}, _at(number))


def _proposal(number: int, each: Told) -> Proposal:
    return Proposal(
        id=f"p{number}",
        ordinal=number,
        attempt=0,
        kind=each.kind,
        parents=(),
        inspirations=(),
        prompt='[{"role": "user", "content": "write"}]',
        model=each.model,
        seed=number,
        state="replied" if each.answered else "requested",
        reply=Reply("text", None, 100, 20, each.usd) if each.answered else None,
        requested_at=_at(number),
        ended_at=_at(number) if each.answered else None,
    )
