"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _runs()
    _texts()
    _proposals()
    _candidates()
    _archive_events()
    _builds()
    _evaluations()
    _infra_events()


def downgrade() -> None:
    op.drop_index("ix_infra_events_run_id", table_name="infra_events")
    op.drop_table("infra_events")
    op.drop_index("ix_evaluations_key", table_name="evaluations")
    op.drop_table("evaluations")
    op.drop_index("ix_builds_run_id", table_name="builds")
    op.drop_table("builds")
    op.drop_table("archive_events")
    op.drop_table("candidates")
    op.drop_table("proposals")
    op.drop_table("texts")
    op.drop_table("runs")


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("size", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_host", sa.Text(), nullable=True),
        sa.Column("lease_pid", sa.BigInteger(), nullable=True),
        sa.Column("lease_started", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('running','finished','budget','waiting','interrupted')", name="ck_runs_state"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
    )


def _texts() -> None:
    op.create_table(
        "texts",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_texts"),
    )


def _proposals() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parents", sa.Text(), nullable=False),
        sa.Column("inspirations", sa.Text(), nullable=False),
        sa.Column("prompt_hash", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reply_hash", sa.Text(), nullable=True),
        sa.Column("reasoning_hash", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=True),
        sa.Column("usd", sa.Float(precision=53), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('requested','replied','abandoned')", name="ck_proposals_state"),
        sa.ForeignKeyConstraint(["prompt_hash"], ["texts.hash"], name="fk_proposals_prompt_hash_texts"),
        sa.ForeignKeyConstraint(["reasoning_hash"], ["texts.hash"], name="fk_proposals_reasoning_hash_texts"),
        sa.ForeignKeyConstraint(["reply_hash"], ["texts.hash"], name="fk_proposals_reply_hash_texts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_proposals_run_id_runs"),
        sa.PrimaryKeyConstraint("id", name="pk_proposals"),
        sa.UniqueConstraint("run_id", "ordinal", "attempt", name="uq_proposals_run_id_ordinal_attempt"),
    )


def _candidates() -> None:
    op.create_table(
        "candidates",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("proposal_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("source_hash", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("tune", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["candidates.id"], name="fk_candidates_parent_id_candidates"),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposals.id"], name="fk_candidates_proposal_id_proposals"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_candidates_run_id_runs"),
        sa.ForeignKeyConstraint(["source_hash"], ["texts.hash"], name="fk_candidates_source_hash_texts"),
        sa.PrimaryKeyConstraint("id", name="pk_candidates"),
        sa.UniqueConstraint("proposal_id", name="uq_candidates_proposal_id"),
        sa.UniqueConstraint("run_id", "ordinal", name="uq_candidates_run_id_ordinal"),
    )


def _archive_events() -> None:
    op.create_table(
        "archive_events",
        sa.Column("candidate_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("objective", sa.Float(precision=53), nullable=False),
        sa.Column("improvement", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("status in ('new','improved','rejected')", name="ck_archive_events_status"),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_archive_events_candidate_id_candidates"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_archive_events_run_id_runs"),
        sa.PrimaryKeyConstraint("candidate_id", name="pk_archive_events"),
        sa.UniqueConstraint("run_id", "seq", name="uq_archive_events_run_id_seq"),
    )


def _builds() -> None:
    op.create_table(
        "builds",
        sa.Column("candidate_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("log_hash", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("measures", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(precision=53), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_builds_candidate_id_candidates"
        ),
        sa.ForeignKeyConstraint(["log_hash"], ["texts.hash"], name="fk_builds_log_hash_texts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_builds_run_id_runs"),
        sa.PrimaryKeyConstraint("candidate_id", name="pk_builds"),
    )
    op.create_index("ix_builds_run_id", "builds", ["run_id"], unique=False)


def _evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("candidate_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("objective", sa.Float(precision=53), nullable=True),
        sa.Column("measures", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Text(), nullable=False),
        sa.Column("reused_from", sa.Text(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_evaluations_candidate_id_candidates"
        ),
        sa.ForeignKeyConstraint(
            ["reused_from"], ["evaluations.id"], name="fk_evaluations_reused_from_evaluations"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_evaluations_run_id_runs"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint("candidate_id", name="uq_evaluations_candidate_id"),
        sa.UniqueConstraint("run_id", "seq", name="uq_evaluations_run_id_seq"),
    )
    op.create_index("ix_evaluations_key", "evaluations", ["key"], unique=False)


def _infra_events() -> None:
    op.create_table(
        "infra_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("candidate_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidates.id"], name="fk_infra_events_candidate_id_candidates"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_infra_events_run_id_runs"),
        sa.PrimaryKeyConstraint("id", name="pk_infra_events"),
    )
    op.create_index("ix_infra_events_run_id", "infra_events", ["run_id"], unique=False)
