"""From a store URL to an engine, and from a database error to a sentence a person can act on."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kforge.errors import MissingPrerequisite, StoreError, UsageError

BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
URL_FORMS = "use --store FILE.sqlite, sqlite:///FILE.sqlite or postgresql://USER@HOST/DATABASE"
WRITE = "kforge_write"


def parse_url(text: str) -> URL:
    """Read a store URL or a plain file path.

    Raises:
        UsageError: another database, an in-memory one, or no URL at all. The text is not repeated: it
            may hold a password.
    """
    if not text or text == ":memory:":
        raise UsageError("A store in memory would lose the run with the process.", URL_FORMS)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    scheme = text.partition("://")[0]
    try:
        url = make_url("postgresql" + text[len("postgres") :] if scheme == "postgres" else text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise UsageError(
            f"The {scheme} URL of the store cannot be read (not repeated here: it may hold a password).",
            "percent-encode special characters of the password (@ is %40, / is %2F), or use ~/.pgpass",
        ) from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.database in (None, "", ":memory:") or "mode" in url.query:
            raise UsageError("A store in memory would lose the run with the process.", URL_FORMS)
        return url.set(drivername="sqlite")
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    raise UsageError(f"kforge has no store for {url.drivername!r}.", URL_FORMS)


def shown(url: URL) -> str:
    """The URL without secrets, for messages."""
    hidden = {key: "***" for key in url.query if "pass" in key.lower()}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def connect(url: URL, create: bool) -> Engine:
    """An engine whose connections are durable and wait for each other.

    Args:
        url: what ``parse_url`` returned.
        create: make a missing SQLite file and its directories.

    Raises:
        MissingPrerequisite: psycopg is not installed.
        StoreError: the SQLite file is missing and must not be made, or its directory cannot be.
    """
    if url.drivername == "sqlite":
        _prepare_file(Path(str(url.database)), create)
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    try:
        # Every snapshot of a run is one point in time; pre_ping survives a server restart between two rows.
        return create_engine(url, connect_args=arguments, pool_pre_ping=True)
    except ImportError as error:
        raise MissingPrerequisite(
            f"The store {shown(url)} needs psycopg, which cannot be imported: {error}.",
            "pip install 'kforge[postgres]'",
        ) from error


def _prepare_file(path: Path, create: bool) -> None:
    if not create and not path.exists():
        raise StoreError(
            f"There is no store at {path}.", "kforge evolve makes one; or name another with --store URL"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The directory of the store {path} cannot be made: {error.strerror} ({error.filename}).",
            "choose another place with --store FILE.sqlite",
        ) from error


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, in _sqlite_begin
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _sqlite_begin(connection: Connection) -> None:
    # A deferred transaction that turns into a writer fails at once when another wrote meanwhile;
    # an immediate one waits its turn.
    write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def translated(url: URL, doing: str, resume: str | None = None) -> Iterator[None]:
    """Turn the database's errors inside the block into ``StoreError``.

    Args:
        url: the store, for messages.
        doing: what the block does: "opening", "reading" or "writing".
        resume: the command that continues once the cause is gone, None where nothing was begun.
    """
    try:
        yield
    except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        reason, remedy = _diagnose(url, cause)
        kept = (
            "" if doing == "opening" else " Every row acknowledged before is safe; this one was not stored."
        )
        raise StoreError(
            f"The store {shown(url)} failed while {doing}: {reason}.{kept}",
            remedy if resume is None else f"{remedy}; then {resume}",
        ) from error


def _diagnose(url: URL, cause: BaseException) -> tuple[str, str]:
    sqlstate = getattr(cause, "sqlstate", None)
    if isinstance(cause, sqlite3.IntegrityError) or str(sqlstate).startswith("23"):
        return " ".join(str(cause).split()), "report this: kforge wrote a row that contradicts another"
    if isinstance(cause, sqlite3.Error):
        path = str(url.database)
        return _diagnose_sqlite(path, cause)
    text = str(cause).replace(url.password or "\0", "***")
    line = " ".join(text.split())[:400].rstrip(".")
    return line, _remedy_postgres(url, line, sqlstate)


def _diagnose_sqlite(path: str, cause: sqlite3.Error) -> tuple[str, str]:
    name = str(getattr(cause, "sqlite_errorname", ""))
    file, folder = shlex.quote(path), shlex.quote(str(Path(path).parent))
    if name.startswith("SQLITE_NOTADB"):
        return "the file is not a SQLite database", "name another file with --store, or move this one away"
    if name.startswith("SQLITE_CANTOPEN"):
        return f"{cause}", f"see `ls -ld {folder} {file}`, or choose another place with --store FILE.sqlite"
    if name.startswith("SQLITE_READONLY"):
        return f"{cause}", f"make {file} and {folder} writable, or choose another place with --store"
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return f"{cause} ({name}; the disk is full or failing)", f"free space (see `df -h {folder}`)"
    if name.startswith("SQLITE_CORRUPT"):
        return f"{cause}", f"save what is left with `sqlite3 {file} .recover > recovered.sql`"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"{cause}: another program kept it for more than {BUSY_TIMEOUT_S} s",
            f"end what `fuser {file}` shows",
        )
    return (
        f"{cause} ({name or type(cause).__name__})",
        f"check it with `sqlite3 {file} 'pragma integrity_check'`",
    )


def _remedy_postgres(url: URL, line: str, sqlstate: str | None) -> str:
    where = " ".join(
        f"{flag} {shlex.quote(str(value))}" for flag, value in (("-h", url.host), ("-p", url.port)) if value
    )
    if sqlstate == "53100":
        return "free space on the disk of the PostgreSQL server"
    if "password" in line or "authentication" in line:
        return "correct user and password in the URL, or in ~/.pgpass"
    if "does not exist" in line and url.database and url.database in line:
        return f"createdb {where} {shlex.quote(url.database)}".replace("  ", " ")
    return f"see whether the server answers: pg_isready {where}".rstrip()
