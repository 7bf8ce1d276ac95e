"""Help is complete, light and in step with the documents."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from kforge.cli import app
from tests.cli.terminal import ROOT, Terminal

HEAVY = ("torch", "ribs", "sqlalchemy", "alembic", "rich", "jinja2", "dpctl", "numpy")
DOCUMENTS = sorted(
    p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
)


def every_command(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from every_command(child, (*path, name))


COMMANDS = dict(every_command(get_command(app), ()))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "kforge")
def test_every_command_and_parameter_has_help(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help.strip()
    assert [p.name for p in command.params if p.name != "help" and not (p.help or "").strip()] == []


@pytest.mark.parametrize("path", [(), ("evolve",), ("tasks", "show")], ids=" ".join)
def test_help_exits_0_on_stdout(kforge: Terminal, path: tuple[str, ...]) -> None:
    done = kforge(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: kforge")


@pytest.mark.parametrize("arguments", [["--help"], ["evolve", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    # The 0.4 s promise, without a clock.
    code = (
        "import sys; sys.argv = ['kforge', *sys.argv[1:]]\n"
        "from kforge.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    sys.stderr.write('\\n'.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "kforge.cli" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_reference_page_is_current() -> None:
    made = subprocess.run(
        [sys.executable, "docs/generate_cli.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == made.stdout, "run: python docs/generate_cli.py > docs/cli.md"


def shown_commands(document: str) -> list[str]:
    """Every command line in a fence without a language or of a shell, and every `kforge ...` in the prose."""
    shown, prose, language = [], [], None
    for line in (ROOT / document).read_text().splitlines():
        if line.startswith("```"):
            language = line.removeprefix("```") if language is None else None
        elif language is None:
            prose.append(line)
        elif language in ("", "console", "sh", "bash"):
            shown.append(line.removeprefix("$ ").strip())
    return [line for line in shown if line.startswith("kforge ")] + re.findall(
        r"`(kforge [^`\n]+)`", "\n".join(prose)
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_shown_command_is_one(document: str) -> None:
    for line in shown_commands(document):
        words = shlex.split(line.replace("[OPTIONS]", ""), comments=True)[1:]
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in COMMANDS:
            path = (*path, words.pop(0))
        assert path or words[0].startswith("--"), f"{document}: {line}"
        known = {option for parameter in COMMANDS[path].params for option in parameter.opts} | {"--help"}
        assert [w for w in words if w.startswith("-") and w not in known] == [], f"{document}: {line}"


def test_the_readme_shows_commands() -> None:
    assert len(shown_commands("README.md")) > 10


def test_the_index_lists_every_page() -> None:
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([\w/-]+\.(?:md|json))\)", (docs / "README.md").read_text()))
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.suffix in (".md", ".json")}
    assert linked == pages - {"README.md"}
