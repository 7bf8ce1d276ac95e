"""Steps of the store's write transactions; the caller holds the transaction and commits it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kforge.data.records import NewEvaluation, Reply
from kforge.data.rows import OUTCOME, dump, dump_or_none, encode, plain
from kforge.data.schema import candidates, evaluations, proposals, runs, texts
from kforge.errors import StoreError


def insert_new(connection: Connection, table: Table, row: Mapping[str, object]) -> bool:
    """Insert a row unless one with the same identity is there; say whether it was inserted."""
    dialect_insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement = dialect_insert(table).values(dict(row)).on_conflict_do_nothing()
    # RETURNING, because the row count of an insert cannot be relied on with every driver.
    return connection.execute(statement.returning(*table.primary_key)).one_or_none() is not None


def put_text(connection: Connection, text: str) -> str:
    """Store a text under its hash, once, and return the hash."""
    key, content = encode(text)
    insert_new(connection, texts, {"hash": key, "content": content})
    return key


def lock_run(connection: Connection, run_id: str) -> Row[Any]:
    """The run's row, kept from every other writer until the transaction ends.

    Raises:
        StoreError: there is no such run.
    """
    # SQLite ignores FOR UPDATE: there the whole transaction is exclusive.
    row = connection.execute(select(runs).where(runs.c.id == run_id).with_for_update()).one_or_none()
    if row is None:
        raise unknown("run", run_id)
    return row


def run_of_candidate(connection: Connection, candidate_id: str) -> str:
    """The id of the run a candidate belongs to.

    Raises:
        StoreError: there is no such candidate.
    """
    query = select(candidates.c.run_id).where(candidates.c.id == candidate_id)
    run_id = connection.execute(query).scalar_one_or_none()
    if run_id is None:
        raise unknown("candidate", candidate_id)
    return str(run_id)


def last_attempt(connection: Connection, run_id: str, ordinal: int) -> Row[Any] | None:
    """The latest request for an ordinal."""
    same = (proposals.c.run_id == run_id) & (proposals.c.ordinal == ordinal)
    query = select(proposals).where(same).order_by(proposals.c.attempt.desc()).limit(1)
    return connection.execute(query).one_or_none()


def answer(connection: Connection, proposal_id: str, reply: Reply, now: datetime) -> Row[Any]:
    """Mark an open request as answered; return its row.

    Raises:
        StoreError: there is no such proposal, or it is not open.
    """
    same = proposals.c.id == proposal_id
    row = connection.execute(select(proposals).where(same).with_for_update()).one_or_none()
    if row is None:
        raise unknown("proposal", proposal_id)
    if row.state != "requested":
        raise StoreError(
            f"Proposal {proposal_id} (ordinal {row.ordinal}) is {row.state}: it takes no reply any more.",
            "kforge runs list",
        )
    values = {
        "state": "replied",
        "reply_hash": put_text(connection, reply.text),
        "reasoning_hash": None if reply.reasoning is None else put_text(connection, reply.reasoning),
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "usd": reply.usd,
        "ended_at": now,
    }
    if reply.model is not None:
        values["model"] = plain(reply.model)
    connection.execute(update(proposals).where(same).values(values))
    return row


def abandon(connection: Connection, which: ColumnElement[bool], now: datetime) -> int:
    """Give up the open requests among ``which``; return how many."""
    still_open = which & (proposals.c.state == "requested")
    done = connection.execute(update(proposals).where(still_open).values(state="abandoned", ended_at=now))
    return done.rowcount


def next_seq(connection: Connection, run_id: str) -> int:
    """The next place in the run's order of telling; the run must be locked, so that there are no holes."""
    query = select(func.coalesce(func.max(evaluations.c.seq) + 1, 0)).where(evaluations.c.run_id == run_id)
    return int(connection.execute(query).scalar_one())


def evaluation_values(evaluation: NewEvaluation) -> dict[str, object]:
    """The columns of ``evaluations`` that come from the evaluation itself."""
    return {
        "key": evaluation.key,
        "status": evaluation.outcome.status,
        "outcome": dump(evaluation.outcome, OUTCOME),
        "objective": evaluation.objective,
        "measures": dump_or_none(evaluation.measures),
        "seconds": dump(evaluation.seconds),
        "reused_from": evaluation.reused_from,
        "device": dump_or_none(evaluation.device),
    }


def unknown(what: str, identity: str) -> StoreError:
    """The error for an id that is not in the store."""
    return StoreError(f"The store holds no {what} {identity!r}.", "kforge runs list")
