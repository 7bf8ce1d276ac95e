"""The tables of the store, in the design's words. Facts are appended; texts are content-addressed."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept and returned as UTC also where the engine knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: nobody could say later which zone it meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no time zone; pass UTC, as Clock.now() gives it")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC; SQLite hands back naive values that this class wrote as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _run() -> Column[str]:
    return Column("run_id", Text, ForeignKey("runs.id"), nullable=False)


def _text(name: str, nullable: bool = True) -> Column[str]:
    return Column(name, Text, ForeignKey("texts.hash"), nullable=nullable)


metadata = MetaData(naming_convention=NAMING)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("task_id", Text, nullable=False),
    Column("size", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("config", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("summary", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("lease_token", Text),
    Column("lease_host", Text),
    Column("lease_pid", BigInteger),
    Column("lease_started", Text),
    Column("lease_expires_at", UtcDateTime),
    CheckConstraint("state in ('running','finished','budget','waiting','interrupted')", name="state"),
)

# Bytes, not text: a reply may hold NUL or lone surrogates, which PostgreSQL's text type refuses.
texts = Table(
    "texts",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    _run(),
    Column("ordinal", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("parents", Text, nullable=False),
    Column("inspirations", Text, nullable=False),
    _text("prompt_hash", nullable=False),
    Column("model", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    _text("reply_hash"),
    _text("reasoning_hash"),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("usd", Float(53)),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    UniqueConstraint("run_id", "ordinal", "attempt"),
    CheckConstraint("state in ('requested','replied','abandoned')", name="state"),
)

candidates = Table(
    "candidates",
    metadata,
    Column("id", Text, primary_key=True),
    _run(),
    Column("proposal_id", Text, ForeignKey("proposals.id"), nullable=False, unique=True),
    Column("ordinal", Integer, nullable=False),
    _text("source_hash"),
    Column("parent_id", Text, ForeignKey("candidates.id")),
    Column("tune", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("run_id", "ordinal"),
)

builds = Table(
    "builds",
    metadata,
    Column("candidate_id", Text, ForeignKey("candidates.id"), primary_key=True),
    _run(),
    Column("key", Text),
    Column("ok", Boolean, nullable=False),
    _text("log_hash", nullable=False),
    Column("facts", Text),
    Column("measures", Text),
    Column("seconds", Float(53), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "run_id"),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Text, primary_key=True),
    _run(),
    Column("candidate_id", Text, ForeignKey("candidates.id"), nullable=False, unique=True),
    Column("seq", Integer, nullable=False),
    Column("key", Text, index=True),
    Column("status", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("objective", Float(53)),
    Column("measures", Text),
    Column("seconds", Text, nullable=False),
    Column("reused_from", Text, ForeignKey("evaluations.id")),
    Column("device", Text),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("run_id", "seq"),
)

archive_events = Table(
    "archive_events",
    metadata,
    Column("candidate_id", Text, ForeignKey("candidates.id"), primary_key=True),
    _run(),
    Column("seq", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("cell", Text, nullable=False),
    Column("objective", Float(53), nullable=False),
    Column("improvement", Float(53), nullable=False),
    UniqueConstraint("run_id", "seq"),
    CheckConstraint("status in ('new','improved','rejected')", name="status"),
)

infra_events = Table(
    "infra_events",
    metadata,
    Column("id", Text, primary_key=True),
    _run(),
    Column("candidate_id", Text, ForeignKey("candidates.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index(None, "run_id"),
)

# Of no run: what the control pack found on a task. The newest row of a key counts.
admissions = Table(
    "admissions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("task_id", Text, nullable=False),
    Column("task_hash", Text, nullable=False),
    Column("size", Text, nullable=False),
    Column("harness", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("status in ('admitted','weak','degenerate','unchecked')", name="status"),
    Index(None, "task_hash"),
)
