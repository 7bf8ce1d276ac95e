"""What the store is asked: one run whole, all runs in numbers, an outcome by its key."""

from __future__ import annotations

import difflib

from sqlalchemy import Connection, and_, func, select

from kforge.data.records import Run, RunOverview, RunRecords, StoredEvaluation
from kforge.data.rows import build_of, candidate_of, evaluation_of, event_of, infra_of, proposal_of, run_of
from kforge.data.schema import (
    archive_events,
    builds,
    candidates,
    evaluations,
    infra_events,
    proposals,
    runs,
    texts,
)
from kforge.errors import UsageError


def run_named(connection: Connection, name: str) -> Run | None:
    """The run of that name."""
    row = connection.execute(select(runs).where(runs.c.name == name)).one_or_none()
    return None if row is None else run_of(row)


def require_run(connection: Connection, name: str) -> Run:
    """The run of that name.

    Raises:
        UsageError: there is none; the message gives the nearest names.
    """
    run = run_named(connection, name)
    if run is None:
        names = list(connection.execute(select(runs.c.name)).scalars())
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise UsageError(f"There is no run {name!r} in this store{hint}.", "kforge runs list")
    return run


def overviews(connection: Connection) -> list[RunOverview]:
    """Every run with its counts, newest first."""
    asked = dict[str, tuple[int, float]]()
    query = select(proposals.c.run_id, func.count(), func.coalesce(func.sum(proposals.c.usd), 0.0))
    for run_id, count, usd in connection.execute(query.group_by(proposals.c.run_id)):
        asked[run_id] = (count, float(usd))
    told = dict[str, tuple[int, int, float | None]]()
    passed = func.count().filter(evaluations.c.status == "passed")
    counts = select(evaluations.c.run_id, func.count(), passed, func.max(evaluations.c.objective))
    for run_id, count, good, best in connection.execute(counts.group_by(evaluations.c.run_id)):
        told[run_id] = (count, good, best)
    result = []
    newest_first = select(runs).order_by(runs.c.created_at.desc(), runs.c.name)
    for row in connection.execute(newest_first):
        requests, usd = asked.get(row.id, (0, 0.0))
        count, good, best = told.get(row.id, (0, 0, None))
        best_id = _best_candidate(connection, row.id)
        result.append(RunOverview(run_of(row), requests, count, good, best, best_id, usd))
    return result


def _best_candidate(connection: Connection, run_id: str) -> str | None:
    scored = and_(evaluations.c.run_id == run_id, evaluations.c.objective.is_not(None))
    order = (evaluations.c.objective.desc(), evaluations.c.seq)  # of equals, the first found
    return connection.execute(
        select(evaluations.c.candidate_id).where(scored).order_by(*order).limit(1)
    ).scalar()


def evaluation_by_key(connection: Connection, key: str) -> StoredEvaluation | None:
    """The latest measured outcome under ``key`` in any run, repeats and infrastructure failures aside."""
    query = select(evaluations).where(
        evaluations.c.key == key,
        evaluations.c.status != "infra_failed",
        evaluations.c.reused_from.is_(None),
    )
    order = (evaluations.c.created_at.desc(), evaluations.c.seq.desc())
    row = connection.execute(query.order_by(*order).limit(1)).one_or_none()
    return None if row is None else evaluation_of(row)


def run_records(connection: Connection, run: Run) -> RunRecords:
    """Everything of one run."""
    prompt, reply, reasoning, log = (texts.alias(name) for name in ("prompt", "reply", "reasoning", "log"))
    asked = (
        select(
            proposals,
            prompt.c.content.label("prompt"),
            reply.c.content.label("reply"),
            reasoning.c.content.label("reasoning"),
        )
        .join(prompt, proposals.c.prompt_hash == prompt.c.hash)
        .outerjoin(reply, proposals.c.reply_hash == reply.c.hash)
        .outerjoin(reasoning, proposals.c.reasoning_hash == reasoning.c.hash)
        .where(proposals.c.run_id == run.id)
        .order_by(proposals.c.ordinal, proposals.c.attempt)
    )
    made = (
        select(candidates, texts.c.content.label("source"))
        .outerjoin(texts, candidates.c.source_hash == texts.c.hash)
        .where(candidates.c.run_id == run.id)
        .order_by(candidates.c.ordinal)
    )
    built = (
        select(builds, log.c.content.label("log"))
        .join(log, builds.c.log_hash == log.c.hash)
        .where(builds.c.run_id == run.id)
    )
    told = select(evaluations).where(evaluations.c.run_id == run.id).order_by(evaluations.c.seq)
    archived = select(archive_events).where(archive_events.c.run_id == run.id).order_by(archive_events.c.seq)
    broke = select(infra_events).where(infra_events.c.run_id == run.id)
    return RunRecords(
        run=run,
        proposals=tuple(proposal_of(row) for row in connection.execute(asked)),
        candidates=tuple(candidate_of(row) for row in connection.execute(made)),
        builds={row.candidate_id: build_of(row) for row in connection.execute(built)},
        evaluations=tuple(evaluation_of(row) for row in connection.execute(told)),
        archive_events=tuple(event_of(row) for row in connection.execute(archived)),
        infra_events=tuple(infra_of(row) for row in connection.execute(broke.order_by(infra_events.c.at))),
    )
