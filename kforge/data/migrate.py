"""The schema's revision: made on an empty database, checked at every open, raised only when asked."""

from __future__ import annotations

import shlex
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL

from kforge.data.engine import WRITE, connect, parse_url, shown, translated
from kforge.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x6B666F726765  # "kforge"


def migrate(url: str, migrations: Path = MIGRATIONS) -> tuple[str | None, str]:
    """Bring the database at ``url`` to the newest revision and return (revision before, revision now).

    Safe beside other processes and against a kill: the whole step is one transaction.

    Raises:
        UsageError: the URL cannot be read.
        StoreError: the database cannot be reached, is not kforge's, or is newer than this kforge.
    """
    parsed = parse_url(url)
    engine = connect(parsed, create=False).execution_options(**{WRITE: True})
    try:
        with translated(parsed, "opening"), engine.begin() as connection:
            before = _locked_revision(connection)
            if before is None:
                _require_empty(connection, parsed)
            else:
                _require_known(before, parsed, migrations)
            return before, _upgrade(connection, migrations)
    finally:
        engine.dispose()


def ensure_current(connection: Connection, url: URL, migrations: Path = MIGRATIONS) -> None:
    """Accept the newest revision, build an empty database, refuse everything else.

    Args:
        connection: inside a write transaction that the caller commits.
        url: for messages.
        migrations: Alembic's directory.

    Raises:
        StoreError: the database is older or newer than this kforge, or holds another program's tables.
    """
    current = _locked_revision(connection)
    newest = head(migrations)
    if current == newest:
        return
    if current is None:
        _require_empty(connection, url)
        _upgrade(connection, migrations)
        return
    _require_known(current, url, migrations)
    raise StoreError(
        f"The store {shown(url)} has schema {current}; this kforge needs {newest}.",
        f"copy it if you like, then: kforge store migrate --store {shlex.quote(shown(url))}",
    )


def revision(connection: Connection) -> str | None:
    """The database's revision, None when it never had one."""
    return MigrationContext.configure(connection).get_current_revision()


def head(migrations: Path = MIGRATIONS) -> str:
    """The newest revision this kforge knows."""
    newest = ScriptDirectory(str(migrations)).get_current_head()
    if newest is None:
        raise StoreError(f"No schema revision in {migrations}.", "install kforge again")
    return newest


def _locked_revision(connection: Connection) -> str | None:
    if connection.dialect.name == "postgresql":  # SQLite's BEGIN IMMEDIATE is a lock already
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    return revision(connection)


def _require_empty(connection: Connection, url: URL) -> None:
    tables = inspect(connection).get_table_names()
    if tables:
        held = ", ".join(sorted(tables)[:5])
        raise StoreError(
            f"The database {shown(url)} belongs to another program: it holds {held}.",
            "give kforge an empty database with --store URL",
        )


def _require_known(current: str, url: URL, migrations: Path) -> None:
    try:
        ScriptDirectory(str(migrations)).get_revision(current)
    except CommandError as error:
        raise StoreError(
            f"The store {shown(url)} has schema {current}, which this kforge ({head(migrations)}) does not"
            " know: a newer kforge wrote it.",
            "pip install --upgrade kforge",
        ) from error


def _upgrade(connection: Connection, migrations: Path) -> str:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return head(migrations)
