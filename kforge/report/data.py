"""Everything a report says of a run, computed from its records; how it looks is decided elsewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kforge.data.records import Run, RunRecords
from kforge.data.standing import Standing, unknown
from kforge.eval.candidate import parse_candidate
from kforge.report.curve import Interval, Point, curve_of, interval_of
from kforge.report.failures import FailureClass, failures_of
from kforge.report.grid import Grid, grid_of
from kforge.report.lineage import Lineage, lineage_of
from kforge.search.accounts import Account, accounts_of
from kforge.search.cells import cell_name
from kforge.search.proposer import signature
from kforge.search.summary import BestCandidate, RunSummary
from kforge.types import CandidateSource, DeviceInfo, WorkloadResult

# What stands in for a model, and what it is; a proposal's model begins with one of these words.
STAND_INS: Mapping[str, str] = {
    "offline": "kforge's offline proposer wrote kernels by fixed rules: this says nothing of models",
    "replay": "recorded replies were played back; tokens and dollars are those of the recording",
    "file": "kernels came from files that the user gave",
}
ENSEMBLE = "ensemble"
# Settings of a run whose option has the same name.
REPEATED_SETTINGS = (
    "device", "track", "evals", "minutes", "device_seconds", "tokens", "usd",
    "max_reply_tokens", "temperature", "strategy",
)  # fmt: skip
# Settings that say how a run was evaluated; a run stores those that its kforge knew of.
VERSION_SETTINGS = ("kforge", "harness_version", "torch")


@dataclass(frozen=True, slots=True)
class Winner:
    """The best candidate of a run.

    Attributes:
        precision: the policy that its file declares; None where the file cannot be read any more.
        busy_others: the largest share of all processors that other processes used while it was timed;
            None where that is unknown.
        workloads: what was measured, workload by workload.
    """

    ordinal: int
    cell: str
    interval: Interval
    verdict: str
    latency_us: float
    baseline_us: float
    noise: float
    max_error: float
    kb_correct: bool
    precision: str | None
    busy_others: float | None
    workloads: tuple[WorkloadResult, ...]
    source: str


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """Where the time of a run went, in seconds.

    Stages are summed over candidates, exact duplicates and reused outcomes excluded; several may run at
    once. ``session_s`` and ``idle_s`` are of the last session alone, None before one has ended.
    """

    build_s: float
    check_s: float
    bench_s: float
    session_s: float | None
    idle_s: float | None


@dataclass(frozen=True, slots=True)
class Commands:
    """What to type next; ``again`` is None where the run does not say how it was begun."""

    resume: str
    export: str
    again: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """A run as its reader meets it.

    Attributes:
        no_model: why no model was asked, in words; empty when one was.
        proposers: who answered proposals, as the rows name them.
        told: candidates with an outcome, duplicates included.
        versions: what evaluated it, name to version; what was not stored is absent.
        made_by: the kforge that made this report.
    """

    run: Run
    winner: Winner | None
    proposers: tuple[str, ...]
    no_model: str
    told: int
    summary: RunSummary
    curve: tuple[Point, ...]
    grid: Grid
    lineage: Lineage
    failures: tuple[FailureClass, ...]
    accounts: tuple[Account, ...]
    time: TimeSpent
    devices: tuple[DeviceInfo, ...]
    versions: Mapping[str, str]
    infra_failures: int
    commands: Commands
    made_at: datetime
    made_by: str
    admission: Standing


def report_of(
    records: RunRecords,
    summary: RunSummary,
    *,
    made_at: datetime,
    made_by: str,
    admission: Standing | None = None,
) -> Report:
    """Compute a report.

    Args:
        records: everything of one run.
        summary: the same run, summarised.
        made_at: the wall clock.
        made_by: the version of kforge.
        admission: of the run's task; None where nobody looked, which reads as not checked.
    """
    config = records.run.config
    return Report(
        run=records.run,
        winner=None if summary.best is None else _winner(summary.best),
        proposers=tuple(sorted({p.model for p in records.proposals})) or (summary.proposer,),
        no_model=_no_model(records),
        told=len(records.evaluations),
        summary=summary,
        curve=curve_of(records),
        grid=grid_of(summary.elites),
        lineage=lineage_of(records, None if summary.best is None else summary.best.candidate_id),
        failures=failures_of(records),
        accounts=accounts_of(records),
        time=_time(records),
        devices=_devices(records),
        versions={name: str(config[name]) for name in VERSION_SETTINGS if config.get(name) is not None},
        infra_failures=len(records.infra_events),
        commands=_commands(records.run),
        made_at=made_at,
        made_by=made_by,
        admission=unknown(records.run.task_id) if admission is None else admission,
    )


def _winner(best: BestCandidate) -> Winner:
    outcome = best.outcome
    parsed = parse_candidate(best.source)
    busy = [each.busy_others for each in outcome.workloads if each.busy_others is not None]
    return Winner(
        ordinal=best.ordinal,
        cell=cell_name(best.measures.cell),
        interval=interval_of(outcome),
        verdict=outcome.verdict,
        latency_us=outcome.latency_us,
        baseline_us=outcome.baseline_us,
        noise=outcome.noise,
        max_error=outcome.max_error,
        kb_correct=outcome.kb_correct,
        precision=parsed.precision if isinstance(parsed, CandidateSource) else None,
        busy_others=max(busy, default=None),
        workloads=outcome.workloads,
        source=best.source,
    )


def _no_model(records: RunRecords) -> str:
    # An open request of an ensemble does not say yet whose turn it is.
    asked = {_family(proposal.model) for proposal in records.proposals} - {ENSEMBLE}
    kinds = asked or {_family(spec) for spec in _models(records.run)}
    if not kinds or not kinds <= STAND_INS.keys():
        return ""
    return "; ".join(STAND_INS[kind] for kind in sorted(kinds, reverse=True))


def _family(model: str) -> str:
    """The kind of proposer: ``openai`` of ``openai:MODEL``, in an ensemble that of the member."""
    proposer, member = signature(model)
    name = member if proposer == ENSEMBLE and member is not None else proposer
    return re.split(r"[:\s]", name, maxsplit=1)[0]


def _models(run: Run) -> list[str]:
    """The specs that a run was begun with; older runs have one."""
    models = run.config.get("models", run.config.get("model"))
    return [str(model) for model in (models if isinstance(models, list) else [models]) if model is not None]


def _time(records: RunRecords) -> TimeSpent:
    fresh = [e.value.seconds for e in records.evaluations if e.value.reused_from is None]
    stored = records.run.summary or {}
    return TimeSpent(
        build_s=sum(seconds.build for seconds in fresh),
        check_s=sum(seconds.check for seconds in fresh),
        bench_s=sum(seconds.bench for seconds in fresh),
        session_s=_number(stored.get("seconds")),
        idle_s=_number(stored.get("device_idle_s")),
    )


def _devices(records: RunRecords) -> tuple[DeviceInfo, ...]:
    """The devices that measured, in the order of their first outcome."""
    return tuple(dict.fromkeys(e.value.device for e in records.evaluations if e.value.device is not None))


def _commands(run: Run) -> Commands:
    name = shlex.quote(run.name)
    # Without a task in its settings a run does not say how it was begun.
    again = _again(run) if "task" in run.config else None
    return Commands(f"kforge evolve --resume {name}", f"kforge export {name} --out DIR", again)


def _again(run: Run) -> str:
    """The command that begins a run with the settings of this one."""
    config = run.config
    given = config.get("given")
    options: list[tuple[str, object]] = [
        ("--task", run.task_id),
        ("--size", run.size),
        ("--language", run.language),
        *(("--model", model) for model in _models(run)),
        *(("--from", each.get("name")) for each in _objects(given)),
        *((f"--{key.replace('_', '-')}", config.get(key)) for key in REPEATED_SETTINGS),
        ("--seed", run.seed),
    ]
    words = [f"{option} {shlex.quote(str(value))}" for option, value in options if value is not None]
    return f"kforge evolve {' '.join(words)} --run NEW_NAME"


def _objects(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
