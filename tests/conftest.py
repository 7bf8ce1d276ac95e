"""Which tests may run side by side, and a real PostgreSQL server for every test that wants one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import settings

# The gate must give one answer for one commit; HYPOTHESIS_PROFILE=default explores.
settings.register_profile("gate", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

SUPERUSER = "kforge_test"
PASSWORD = "se%c/ret"  # needs percent-encoding in a URL


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_server_user(command: list[str]) -> list[str]:
    # PostgreSQL refuses to run as root.
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


def _run(command: list[str], cwd: Path) -> None:
    # To a file: a pipe would stay open in the server that pg_ctl leaves behind.
    with (cwd / "commands.log").open("ab") as log:
        done = subprocess.run(
            _as_server_user(command), cwd=cwd, stdout=log, stderr=log, timeout=60, check=False
        )
    assert done.returncode == 0, (cwd / "commands.log").read_text()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under xdist, whatever measures on a device stays in one process: times taken side by side are noise.

    pytest 9.2 takes no notice of the name that xdist 3.8 gives a test of a group: constraints.txt has 9.1.
    """
    for item in items:
        if item.get_closest_marker("sycl") is not None:
            item.add_marker(pytest.mark.xdist_group("device"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a throw-away cluster, without a database name."""
    binaries = _binaries()
    if binaries is None:
        reason = "no PostgreSQL server (initdb) on PATH or under /usr/lib/postgresql: apt install postgresql"
        if os.environ.get("KFORGE_REQUIRE_POSTGRES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="kforge-pg-", dir="/tmp"))  # short: socket paths are limited
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
    data, secret = str(home / "data"), home / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    initdb = [str(binaries / "initdb"), "-D", data, "-U", SUPERUSER, "-E", "UTF8", "--no-sync"]
    try:
        _run([*initdb, "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"], home)
        options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1"
        _run(
            [str(binaries / "pg_ctl"), "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start"],
            home,
        )
        try:
            yield f"postgresql://{SUPERUSER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"
        finally:
            _run([str(binaries / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop"], home)
    finally:
        shutil.rmtree(home)


@pytest.fixture
def postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh, empty database."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    import psycopg  # a GPU box has no need of it

    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as admin:
        admin.execute(f'create database "{name}"'.encode())
        yield f"{postgres_server}/{name}"
        admin.execute(f'drop database "{name}" with (force)'.encode())


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build cache that the whole session shares, and nobody else."""
    return tmp_path_factory.mktemp("cache")
