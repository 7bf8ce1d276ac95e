"""Opening: URLs, broken databases, foreign ones, and other schema revisions."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from kforge.data import migrate as migrating
from kforge.data.engine import connect, parse_url
from kforge.data.schema import metadata
from kforge.data.store import Store, migrate
from kforge.errors import StoreError, UsageError
from tests.store.samples import new_run

SECRET = "hunter2"
LATER = '''
"""A later revision."""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("runs", sa.Column("note", sa.Text()))
'''


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a kforge that is one revision ahead."""
    copied = tmp_path / "100% later"
    shutil.copytree(migrating.MIGRATIONS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "versions" / "0003_later.py").write_text(LATER)
    return copied


def test_migrations_make_exactly_the_schema(url: str) -> None:
    Store.open(url).close()
    engine = connect(parse_url(url), create=False)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_an_older_store_is_refused_then_migrated_with_its_rows(url: str, later: Path) -> None:
    with Store.open(url) as store:
        run = new_run(store)
    parsed = parse_url(url)
    engine = connect(parsed, create=False)
    with (
        engine.begin() as connection,
        pytest.raises(StoreError, match=r"has schema 0002; .* needs 0003") as caught,
    ):
        migrating.ensure_current(connection, parsed, later)
    assert "kforge store migrate --store" in caught.value.next_step
    assert migrate(url, later) == ("0002", "0003")
    assert migrate(url, later) == ("0003", "0003")
    with engine.begin() as connection:
        migrating.ensure_current(connection, parsed, later)
        assert connection.execute(text("select id, note from runs")).all() == [(run.id, None)]
    engine.dispose()


def test_a_newer_store_asks_for_a_newer_kforge(url: str, later: Path) -> None:
    Store.open(url).close()
    migrate(url, later)
    with pytest.raises(StoreError, match=r"schema 0003, which this kforge \(0002\) does not know") as caught:
        Store.open(url)
    assert caught.value.next_step == "pip install --upgrade kforge"
    with pytest.raises(StoreError, match="a newer kforge wrote it"):
        migrate(url)


def test_another_programs_database_is_left_alone(url: str) -> None:
    engine = connect(parse_url(url), create=True)
    with engine.begin() as connection:
        connection.execute(text("create table invoices (id integer)"))
    for touch in (Store.open, migrate):
        with pytest.raises(StoreError, match="another program: it holds invoices"):
            touch(url)
    with engine.connect() as connection:
        assert connection.dialect.get_table_names(connection) == ["invoices"]
    engine.dispose()


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite+pysqlite:///{}"])
def test_forms_of_a_sqlite_url(tmp_path: Path, form: str) -> None:
    file = tmp_path / "new folder" / "store.sqlite"
    with Store.open(form.format(file)) as store:
        new_run(store)
        assert store.url == f"sqlite:///{file}"
    with sqlite3.connect(file) as raw:
        assert raw.execute("select name from runs").fetchall() == [("demo",)]
        assert raw.execute("pragma journal_mode").fetchone() == ("wal",)
    raw.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_forms_of_a_postgresql_url(postgres_url: str, scheme: str) -> None:
    with Store.open(scheme + postgres_url.removeprefix("postgresql")) as store:
        new_run(store)
        assert ":***@127.0.0.1" in store.url


@pytest.mark.parametrize(
    "url",
    [
        "",
        ":memory:",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        f"mysql://u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}/d",
        f"postgresql://u:x@{SECRET}@h/d",
        f"postgresql+asyncpg://u:{SECRET}@h/d",
    ],
)
def test_urls_that_are_no_store(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Store.open(url)
    assert SECRET not in caught.value.message + caught.value.next_step
    assert caught.value.exit_code == 2


def test_a_missing_file_is_made_only_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "store.sqlite"
    with pytest.raises(StoreError, match="no store at"):
        Store.open(str(file), create=False)
    with pytest.raises(StoreError, match="no store at"):
        migrate(str(file))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"shopping list\n" * 1000)
    with pytest.raises(StoreError, match="is not a SQLite database") as caught:
        Store.open(str(file))
    assert str(file) in caught.value.message
    assert file.read_bytes() == b"shopping list\n" * 1000


def test_places_that_cannot_hold_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"directory of the store .* cannot be made"):
        Store.open(str(tmp_path / "file" / "sub" / "store.sqlite"))
    with pytest.raises(StoreError, match="unable to open database file") as caught:
        Store.open(str(tmp_path))
    assert "ls -ld" in caught.value.next_step
    with pytest.raises(StoreError, match="unable to open database file"):
        Store.open("/proc/store.sqlite")


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with Store.open(str(file)) as store:
        new_run(store)
        with sqlite3.connect(file) as raw:
            raw.execute("update runs set config = '[1'")
        raw.close()
        with pytest.raises(StoreError, match="damaged row: run demo"):
            store.get_run("demo")


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # bound but not listening: connections are refused
        with pytest.raises(StoreError, match="refused") as caught:
            Store.open(f"postgresql://me:{SECRET}@127.0.0.1:{port}/db?sslpassword={SECRET}")
    assert caught.value.next_step.endswith(f"pg_isready -h 127.0.0.1 -p {port}")
    assert SECRET not in caught.value.message + caught.value.next_step
    assert caught.value.exit_code == 3


def test_a_wrong_password(postgres_url: str) -> None:
    user, host = postgres_url.split("@")
    wrong = f"{user.rpartition(':')[0]}:{SECRET}@{host}"
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        Store.open(wrong)
    assert "~/.pgpass" in caught.value.next_step
    assert SECRET not in caught.value.message + caught.value.next_step


def test_a_missing_database(postgres_server: str) -> None:
    with pytest.raises(StoreError, match="does not exist") as caught:
        Store.open(f"{postgres_server}/nowhere")
    assert caught.value.next_step.startswith("createdb -h 127.0.0.1 -p ")


def test_without_psycopg_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from kforge.data.store import Store\n"
        "from kforge.errors import MissingPrerequisite\n"
        "try:\n    Store.open('postgresql://me@127.0.0.1:1/db')\n"
        "except MissingPrerequisite as error:\n    print(error.exit_code, error.next_step)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "2 pip install 'kforge[postgres]'\n"


def test_a_lost_connection_is_replaced(postgres_url: str) -> None:
    import psycopg  # here, since GPU boxes collect this file and have no need of it

    with Store.open(postgres_url) as store:
        run = new_run(store)
        others = "datname = current_database() and pid <> pg_backend_pid()"
        with psycopg.connect(postgres_url) as killer:
            cut = killer.execute(
                f"select count(pg_terminate_backend(pid)) from pg_stat_activity where {others}".encode()
            )
            assert cut.fetchone() == (1,)
        store.set_run_state(run.id, "finished", None, run.created_at)
        assert store.get_run("demo").state == "finished"
