"""The store: the only writer of runs, proposals, candidates, builds, evaluations and archive events.

Every method that writes has committed, durably, when it returns. Times come in as ``now``, ids from
the function given to ``Store.open``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.engine import URL

from kforge.data import admissions, leasing, read, write
from kforge.data.engine import WRITE, connect, parse_url, shown, translated
from kforge.data.lease import Lease, LeaseOwner
from kforge.data.migrate import ensure_current, migrate
from kforge.data.records import (
    ArchiveEvent,
    NewEvaluation,
    Reply,
    Run,
    RunOverview,
    RunRecords,
    RunState,
    StoredEvaluation,
)
from kforge.data.rows import dump, dump_or_none, evaluation_of, plain
from kforge.data.schema import archive_events, builds, candidates, evaluations, infra_events, proposals, runs
from kforge.data.verdicts import NewAdmission, StoredAdmission
from kforge.errors import StoreError, UsageError
from kforge.types import BuildFacts, Measures, Scalar

__all__ = ["DuplicateEvaluation", "Store", "migrate", "random_id"]

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class DuplicateEvaluation(StoreError):
    """The candidate has its evaluation already: each is evaluated exactly once."""

    code = "duplicate_evaluation"


def random_id() -> str:
    """Sixteen random hexadecimal digits."""
    return secrets.token_hex(8)


class Store:
    """One database of runs. Made by ``Store.open``; use it as a context manager."""

    def __init__(self, engine: Engine, url: URL, ids: Callable[[], str]) -> None:
        self._url = url
        self._ids = ids
        self._engine = engine
        self._writer = engine.execution_options(**{WRITE: True})
        snapshot = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._reader = engine.execution_options(**snapshot)
        self._driven = "NAME"

    @classmethod
    def open(cls, url: str, ids: Callable[[], str] = random_id, create: bool = True) -> Store:
        """Open the store at ``url``; an empty database gets its tables.

        Args:
            url: ``postgresql://...``, ``sqlite:///FILE`` or a file path.
            ids: makes the id of every new row.
            create: make a missing SQLite file; commands that only read pass False.

        Raises:
            UsageError: the URL is none of these.
            MissingPrerequisite: PostgreSQL without psycopg.
            StoreError: the database cannot be reached, is another program's, or has another schema.
        """
        parsed = parse_url(url)
        store = cls(connect(parsed, create), parsed, ids)
        try:
            with translated(parsed, "opening"), store._writer.begin() as connection:
                ensure_current(connection, parsed)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def url(self) -> str:
        """Where this store is, without the password."""
        return shown(self._url)

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_run(
        self,
        *,
        name: str,
        task_id: str,
        size: str,
        language: str,
        seed: int,
        config: Mapping[str, object],
        now: datetime,
    ) -> Run:
        """Insert a run in state ``running``.

        Raises:
            UsageError: the name is taken or holds characters that a file name should not.
        """
        if not RUN_NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no run name: it takes up to 100 letters, digits, '.', '_' and '-',"
                " the first a letter or digit.",
                "choose another with --run NAME",
            )
        row: dict[str, object] = {"id": self._ids(), "name": name, "task_id": task_id, "size": size}
        row |= {"language": language, "seed": seed, "config": dump(dict(config)), "state": "running"}
        row |= {"created_at": now, "updated_at": now}
        with self._write() as connection:
            added = write.insert_new(connection, runs, row)
            run = read.require_run(connection, name)
        if not added:
            raise UsageError(
                f"The run {name!r} exists already, for task {run.task_id}.", f"kforge evolve --resume {name}"
            )
        return run

    def find_run(self, name: str) -> Run | None:
        """The run of that name, or None."""
        with self._read() as connection:
            return read.run_named(connection, name)

    def get_run(self, name: str) -> Run:
        """The run of that name.

        Raises:
            UsageError: there is none; the message gives the nearest names.
        """
        with self._read() as connection:
            return read.require_run(connection, name)

    def list_runs(self) -> list[RunOverview]:
        """Every run with its counts, newest first."""
        with self._read() as connection:
            return read.overviews(connection)

    def set_run_state(
        self, run_id: str, state: RunState, summary: Mapping[str, object] | None, now: datetime
    ) -> None:
        """Set state and summary of a run (these two, and the lease, are all that ever changes)."""
        summary_text = None if summary is None else dump(dict(summary))
        with self._write() as connection:
            write.lock_run(connection, run_id)
            values = {"state": state, "summary": summary_text, "updated_at": now}
            connection.execute(update(runs).where(runs.c.id == run_id).values(values))

    def load_run(self, run_id: str) -> RunRecords:
        """Everything of one run, as of one moment."""
        with self._read() as connection:
            name = connection.execute(select(runs.c.name).where(runs.c.id == run_id)).scalar_one_or_none()
            if name is None:
                raise write.unknown("run", run_id)
            return read.run_records(connection, read.require_run(connection, name))

    def acquire(self, run_id: str, owner: LeaseOwner, now: datetime) -> Lease:
        """Take the right to drive a run; the lease of a dead process is taken over at once.

        Args:
            run_id: the run.
            owner: the asking process, from ``lease.this_process()``.
            now: the wall clock; the lease lasts ``lease.LEASE_S`` seconds unless renewed.

        Raises:
            UsageError: another living process drives the run.
        """
        with self._write() as connection:
            lease = leasing.take(connection, run_id, self._ids(), owner, now)
        self._driven = lease.run_name
        return lease

    def renew(self, lease: Lease, now: datetime) -> Lease:
        """Extend a lease; call it well within ``lease.LEASE_S`` seconds.

        Raises:
            StoreError: another process has taken the run over.
        """
        with self._write() as connection:
            return leasing.extend(connection, lease, now)

    def release(self, lease: Lease) -> None:
        """Give a lease back; one that another process took over stays as it is."""
        with self._write() as connection:
            leasing.give_back(connection, lease)

    def begin_proposal(
        self,
        run_id: str,
        *,
        ordinal: int,
        kind: str,
        prompt: str,
        model: str,
        seed: int,
        now: datetime,
        parents: Sequence[str] = (),
        inspirations: Sequence[str] = (),
    ) -> str:
        """Store a request before the model is asked, and return its id.

        The attempt is counted here: 0 for a new ordinal, one more after an abandoned request.

        Raises:
            StoreError: the ordinal has a request that was not abandoned.
        """
        with self._write() as connection:
            write.lock_run(connection, run_id)
            last = write.last_attempt(connection, run_id, ordinal)
            if last is not None and last.state != "abandoned":
                raise StoreError(f"Proposal {ordinal} of run {run_id} is {last.state} already.", self._resume)
            row = {
                "id": self._ids(), "run_id": run_id, "ordinal": ordinal, "kind": kind,
                "attempt": 0 if last is None else last.attempt + 1,
                "parents": dump(list(parents)),
                "inspirations": dump(list(inspirations)),
                "prompt_hash": write.put_text(connection, prompt),
                "model": plain(model),
                "seed": seed,
                "state": "requested",
                "requested_at": now,
            }  # fmt: skip
            connection.execute(insert(proposals).values(row))
            return str(row["id"])

    def finish_proposal(self, proposal_id: str, reply: Reply, now: datetime) -> None:
        """Mark a request as answered, without a candidate.

        Raises:
            StoreError: the proposal is not open.
        """
        with self._write() as connection:
            write.answer(connection, proposal_id, reply, now)

    def finish_proposal_with_candidate(
        self,
        proposal_id: str,
        reply: Reply,
        *,
        source: str | None,
        now: datetime,
        parent_id: str | None = None,
        tune: Mapping[str, Scalar] | None = None,
    ) -> str:
        """Mark a request as answered and insert its candidate, in one transaction; return the candidate's id.

        Args:
            proposal_id: an open proposal; the candidate takes its ordinal.
            reply: the answer and its cost.
            source: the candidate's text; None when the reply held none.
            now: the wall clock.
            parent_id: the candidate it was derived from.
            tune: the chosen value of every ``TUNE`` name.

        Raises:
            StoreError: the proposal is not open.
        """
        with self._write() as connection:
            proposal = write.answer(connection, proposal_id, reply, now)
            row = {"id": self._ids(), "run_id": proposal.run_id, "proposal_id": proposal_id}
            row |= {"ordinal": proposal.ordinal, "parent_id": parent_id, "tune": dump(dict(tune or {}))}
            row |= {"source_hash": None if source is None else write.put_text(connection, source)}
            row |= {"created_at": now}
            connection.execute(insert(candidates).values(row))
            return str(row["id"])

    def abandon_proposal(self, proposal_id: str, now: datetime) -> bool:
        """Give one open request up; False when it was not open."""
        with self._write() as connection:
            return write.abandon(connection, proposals.c.id == proposal_id, now) == 1

    def abandon_open_proposals(self, run_id: str, now: datetime) -> int:
        """Give up what was in flight when the last driver died; return how many requests that were."""
        with self._write() as connection:
            return write.abandon(connection, proposals.c.run_id == run_id, now)

    def record_build(
        self,
        candidate_id: str,
        *,
        key: str | None,
        ok: bool,
        log: str,
        facts: BuildFacts | None,
        measures: Measures | None,
        seconds: float,
        now: datetime,
    ) -> bool:
        """Store the end of a build stage. A rebuild after a resume changes nothing and returns False."""
        with self._write() as connection:
            row = {
                "candidate_id": candidate_id,
                "run_id": write.run_of_candidate(connection, candidate_id),
                "key": key,
                "ok": ok,
                "log_hash": write.put_text(connection, log),
                "facts": dump_or_none(facts),
                "measures": dump_or_none(measures),
                "seconds": seconds,
                "created_at": now,
            }
            return write.insert_new(connection, builds, row)

    def record_evaluation(
        self,
        candidate_id: str,
        evaluation: NewEvaluation,
        now: datetime,
        archive_event: ArchiveEvent | None = None,
    ) -> StoredEvaluation:
        """Store a candidate's outcome and what the archive did with it, in one transaction.

        Raises:
            DuplicateEvaluation: the candidate has one already; nothing was changed.
        """
        with self._write() as connection:
            run_id = write.run_of_candidate(connection, candidate_id)
            write.lock_run(connection, run_id)
            seq = write.next_seq(connection, run_id)
            row = write.evaluation_values(evaluation) | {
                "id": self._ids(),
                "run_id": run_id,
                "candidate_id": candidate_id,
                "seq": seq,
                "created_at": now,
            }
            if not write.insert_new(connection, evaluations, row):
                raise DuplicateEvaluation(
                    f"Candidate {candidate_id} is evaluated already; the second outcome"
                    f" ({evaluation.outcome.status}) was not stored.",
                    self._resume,
                )
            if archive_event is not None:
                event = {"run_id": run_id, "candidate_id": candidate_id, "seq": seq}
                event |= {name: getattr(archive_event, name) for name in ArchiveEvent.__slots__}
                connection.execute(insert(archive_events).values(event))
            mine = select(evaluations).where(evaluations.c.candidate_id == candidate_id)
            return evaluation_of(connection.execute(mine).one())

    def record_infra(self, candidate_id: str, reason: str, now: datetime) -> None:
        """Store that kforge itself failed on a candidate, which is tried again."""
        with self._write() as connection:
            run_id = write.run_of_candidate(connection, candidate_id)
            row = {"id": self._ids(), "run_id": run_id, "candidate_id": candidate_id}
            connection.execute(insert(infra_events).values(row).values(reason=plain(reason), at=now))

    def find_evaluation(self, key: str) -> StoredEvaluation | None:
        """The latest measured outcome under ``key`` in any run, or None."""
        with self._read() as connection:
            return read.evaluation_by_key(connection, key)

    def record_admission(self, new: NewAdmission, now: datetime) -> StoredAdmission:
        """Append what the control pack found on a task."""
        with self._write() as connection:
            return admissions.append(connection, self._ids(), new, now)

    def find_admissions(self, task_hash: str | None = None) -> list[StoredAdmission]:
        """Verdicts on one task's source, or on all tasks, newest first."""
        with self._read() as connection:
            return admissions.newest_first(connection, task_hash)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(self._url, "reading", self._resume), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self._url, "writing", self._resume), self._writer.begin() as connection:
            yield connection

    @property
    def _resume(self) -> str:
        return f"kforge evolve --resume {self._driven}"
