"""Stores that do not open, directories that cannot be written, streams that are closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import Terminal


@pytest.fixture
def below_a_file(tmp_path: Path) -> str:
    """A path that nobody, root included, can make: its parent is a regular file."""
    (tmp_path / "file").write_text("text")
    return str(tmp_path / "file" / "below")


@pytest.mark.parametrize("kind", ["directory", "text", "unreachable"])
@pytest.mark.parametrize(
    "command", [["runs", "list"], ["report", "r"], ["evolve", "--task", "kb/L1/88"]], ids=" ".join
)
def test_a_store_that_does_not_open(kforge: Terminal, kind: str, command: list[str]) -> None:
    (kforge.cwd / "text").write_text("no database, but long enough to have a header " * 40)
    (kforge.cwd / "directory").mkdir()
    store = "postgresql://me:secret@127.0.0.1:1/none" if kind == "unreachable" else kind
    done = kforge(*command, "--store", store, "--json")
    assert (done.code, done.error["code"]) == (3, "store")
    assert "secret" not in done.out + done.err


def test_no_store_yet(kforge: Terminal) -> None:
    done = kforge("runs", "list", "--json")
    assert (done.code, done.error["code"]) == (3, "store")
    assert "kforge evolve" in done.error["next"]


def test_a_home_that_cannot_be_made(kforge: Terminal, below_a_file: str) -> None:
    evolve = kforge("evolve", "--task", "kb/L1/88", "--json", KFORGE_HOME=below_a_file)
    assert (evolve.code, evolve.error["code"]) == (3, "store")
    assert below_a_file in evolve.error["message"]
    add = kforge("tasks", "add", "mine.py", "--json", KFORGE_HOME=below_a_file)
    assert (add.code, add.error["code"]) == (2, "task")
    assert kforge("tasks", "list", KFORGE_HOME=below_a_file).code == 0


def test_a_cache_that_cannot_be_made(kforge: Terminal, below_a_file: str) -> None:
    evolve = kforge("evolve", "--task", "kb/L1/88", "--json", KFORGE_CACHE=below_a_file)
    assert (evolve.code, evolve.error["code"]) == (2, "missing")
    assert "KFORGE_CACHE" in evolve.error["next"]
    doctor = kforge("doctor", "--json", KFORGE_CACHE=below_a_file)
    failed = {row["check"]: row["fix"] for row in doctor.document if not row["ok"] and row["required"]}
    assert doctor.code == 2
    assert "KFORGE_CACHE" in failed["build cache"]


def test_without_home(kforge: Terminal) -> None:
    unset = ("HOME", "KFORGE_HOME", "KFORGE_CACHE")
    done = kforge("tasks", "list", "--json", unset=unset)
    assert (done.code, done.error["code"]) == (2, "missing")
    assert "KFORGE_HOME" in done.error["next"]
    assert kforge("--help", unset=unset).code == 0


STREAMS = {
    "closed stdout": ("kforge tasks list >&-", 0),
    "closed stdout, JSON": ("kforge tasks list --json >&-", 0),
    "all closed": ("kforge tasks list <&- >&- 2>&-", 0),
    "closed stderr": ("kforge tasks show nope 2>&-", 2),
    "full stderr": ("kforge tasks show nope 2>/dev/full", 2),
    "full stdout": ("kforge tasks list >/dev/full", 3),
    "full stdout, JSON": ("kforge tasks list --json >/dev/full", 3),
    "reader left": ("(sleep 1; kforge tasks list) | true; exit ${PIPESTATUS[0]}", 141),
    "reader leaves": ("kforge tasks list --json | head -c 1 >/dev/null; exit 0", 0),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams(kforge: Terminal, name: str) -> None:
    line, code = STREAMS[name]
    done = kforge.shell(line)
    assert (done.code, done.out) == (code, "")
    for word in ("Traceback", "Exception ignored"):
        assert word not in done.err
