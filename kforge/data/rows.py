"""Between database rows and records: hostile text in, validated values out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from sqlalchemy import Row

from kforge.codec import from_json, to_dict
from kforge.data.records import (
    ArchiveEvent,
    Build,
    Candidate,
    InfraEvent,
    NewEvaluation,
    Proposal,
    Reply,
    Run,
    StoredArchiveEvent,
    StoredEvaluation,
)
from kforge.errors import StoreError
from kforge.types import BuildFacts, DeviceInfo, Measures, Outcome, Scalar, StageSeconds

T = TypeVar("T")
OUTCOME = cast("type[Outcome]", Outcome)
STRINGS = tuple[str, ...]
OBJECT = cast("type[Mapping[str, object]]", dict[str, object])
TUNE = cast("type[Mapping[str, Scalar]]", dict[str, Scalar])
# A record of the store that does not parse was damaged or written by hand: no command repairs it.
DAMAGED_NEXT = "restore the store from a copy, or start a new one with --store URL"


def dump(value: object, kind: object = None) -> str:
    """JSON text that every engine stores and ``load`` reads back.

    Candidates put anything into a reason: NUL is escaped by JSON, lone surrogates become ``?``.
    """
    text = json.dumps(to_dict(value, kind), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def dump_or_none(value: object) -> str | None:
    """``dump``, with None staying NULL."""
    return None if value is None else dump(value)


def load(kind: type[T], text: str, where: str) -> T:
    """Read what ``dump`` wrote.

    Raises:
        StoreError: the text is not a ``kind``; ``where`` names the row.
    """
    try:
        return from_json(kind, text)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise StoreError(f"The store holds a damaged row: {where} ({first}).", DAMAGED_NEXT) from error


def plain(text: str) -> str:
    """Text for a text column: without NUL and lone surrogates, which PostgreSQL refuses."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def encode(text: str) -> tuple[str, bytes]:
    """Hash (sha256, hexadecimal) and bytes of a content-addressed text; every Python string has them."""
    content = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest(), content


def decode(content: bytes | None) -> str | None:
    """The text that ``encode`` was given."""
    return None if content is None else bytes(content).decode("utf-8", "surrogatepass")


def run_of(row: Row[Any]) -> Run:
    """A row of ``runs``."""
    where = f"run {row.name}"
    return Run(
        id=row.id,
        name=row.name,
        task_id=row.task_id,
        size=row.size,
        language=row.language,
        seed=row.seed,
        config=load(OBJECT, row.config, where),
        state=row.state,
        summary=None if row.summary is None else load(OBJECT, row.summary, where),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def proposal_of(row: Row[Any]) -> Proposal:
    """A row of ``proposals`` joined with its texts."""
    where = f"proposal {row.id}"
    reply = None
    if row.state == "replied":
        reply = Reply(
            text=decode(row.reply) or "",
            reasoning=decode(row.reasoning),
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            usd=row.usd,
        )
    return Proposal(
        id=row.id,
        ordinal=row.ordinal,
        attempt=row.attempt,
        kind=row.kind,
        parents=load(STRINGS, row.parents, where),
        inspirations=load(STRINGS, row.inspirations, where),
        prompt=decode(row.prompt) or "",
        model=row.model,
        seed=row.seed,
        state=row.state,
        reply=reply,
        requested_at=row.requested_at,
        ended_at=row.ended_at,
    )


def candidate_of(row: Row[Any]) -> Candidate:
    """A row of ``candidates`` joined with its source."""
    return Candidate(
        id=row.id,
        proposal_id=row.proposal_id,
        ordinal=row.ordinal,
        source_hash=row.source_hash,
        source=decode(row.source),
        parent_id=row.parent_id,
        tune=load(TUNE, row.tune, f"candidate {row.id}"),
        created_at=row.created_at,
    )


def build_of(row: Row[Any]) -> Build:
    """A row of ``builds`` joined with its log."""
    where = f"build of candidate {row.candidate_id}"
    return Build(
        candidate_id=row.candidate_id,
        key=row.key,
        ok=row.ok,
        log=decode(row.log) or "",
        facts=None if row.facts is None else load(BuildFacts, row.facts, where),
        measures=None if row.measures is None else load(Measures, row.measures, where),
        seconds=row.seconds,
        created_at=row.created_at,
    )


def evaluation_of(row: Row[Any]) -> StoredEvaluation:
    """A row of ``evaluations``."""
    where = f"evaluation {row.id}"
    value = NewEvaluation(
        key=row.key,
        outcome=load(OUTCOME, row.outcome, where),
        objective=row.objective,
        measures=None if row.measures is None else load(Measures, row.measures, where),
        seconds=load(StageSeconds, row.seconds, where),
        device=None if row.device is None else load(DeviceInfo, row.device, where),
        reused_from=row.reused_from,
    )
    return StoredEvaluation(row.id, row.run_id, row.candidate_id, row.seq, row.created_at, value)


def event_of(row: Row[Any]) -> StoredArchiveEvent:
    """A row of ``archive_events``."""
    event = ArchiveEvent(row.status, row.cell, row.objective, row.improvement)
    return StoredArchiveEvent(row.seq, row.candidate_id, event)


def infra_of(row: Row[Any]) -> InfraEvent:
    """A row of ``infra_events``."""
    return InfraEvent(row.candidate_id, row.reason, row.at)
