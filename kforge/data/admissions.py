"""Rows of verdicts on tasks: appended, read newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, insert, select

from kforge.data.rows import dump, load, plain
from kforge.data.schema import admissions
from kforge.data.verdicts import AdmissionVerdict, NewAdmission, StoredAdmission, status_of

VERDICT = cast("type[AdmissionVerdict]", AdmissionVerdict)


def append(connection: Connection, row_id: str, new: NewAdmission, now: datetime) -> StoredAdmission:
    """Insert one verdict."""
    row = {
        "id": row_id, "task_id": plain(new.task_id), "task_hash": new.task_hash, "size": new.size,
        "harness": new.harness, "status": status_of(new.verdict), "verdict": dump(new.verdict, VERDICT),
        "created_at": now,
    }  # fmt: skip
    connection.execute(insert(admissions).values(row))
    return StoredAdmission(row_id, now, new)


def newest_first(connection: Connection, task_hash: str | None) -> list[StoredAdmission]:
    """Verdicts on one task's source, or on all."""
    query = select(admissions).order_by(admissions.c.created_at.desc(), admissions.c.id)
    if task_hash is not None:
        query = query.where(admissions.c.task_hash == task_hash)
    return [_stored(row) for row in connection.execute(query)]


def _stored(row: Row[Any]) -> StoredAdmission:
    verdict = load(VERDICT, row.verdict, f"admission {row.id}")
    new = NewAdmission(row.task_id, row.task_hash, row.size, row.harness, verdict)
    return StoredAdmission(row.id, row.created_at, new)
