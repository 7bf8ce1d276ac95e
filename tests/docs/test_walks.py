"""The documents that walk a newcomer through kforge are walked: their files written, their commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.terminal import ROOT, environment

pytestmark = pytest.mark.sycl

DOCS = ROOT / "docs"
TRIES = 4
_BLOCK = re.compile(
    r"(?:`(?P<file>[\w./-]+)`:\n\n)?^```(?P<tag>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fence of a page; ``file`` is the name that the line before gives it."""

    tag: str
    text: str
    file: str | None


def blocks(page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer((DOCS / page).read_text()):
        yield Block(found["tag"], found["text"], found["file"])


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder, and a shell whose ``kforge`` and ``python`` are those under test."""

    folder: Path
    env: Mapping[str, str]

    def run(self, command: str) -> str:
        """What it says; on a busy machine a newcomer too runs a command again that could not know a time."""
        for _ in range(TRIES):
            done = self._tried(command)
            if not done.stdout.startswith("unstable:"):
                break
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _tried(self, command: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(command)
        programs = {"kforge": [sys.executable, "-P", "-m", "kforge"], "python": [sys.executable]}
        return subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=self.folder, env=dict(self.env), capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("walk")
    env = environment(folder / "home", folder / "cache") | {"OPENAI_API_KEY": ""}
    (folder / "desk").mkdir()
    return Desk(folder / "desk", env)


def test_the_quick_start_is_walked(desk: Desk) -> None:
    said: dict[str, str] = {}
    for block in blocks("quick-start.md"):
        if block.file is not None:
            (desk.folder / block.file).write_text(block.text)
        elif block.tag == "console":
            for line in block.text.splitlines():
                said[line] = desk.run(line.removeprefix("$ "))
    assert {path.name for path in desk.folder.iterdir()} >= {
        "mine.py", "scaled.py", "mine.jsonl", "mine.html", "scaled_relu",
    }  # fmt: skip
    priced = next(text for line, text in said.items() if "--dry-run" in line)
    assert "the run at most" in priced
    assert "OPENAI_API_KEY" in priced
    assert any("passed" in text for line, text in said.items() if line.startswith("$ kforge eval"))


# What the other pages' commands are run with here: (page, what is replaced by what, what is added).
RUNS = {
    "exporting.md": ({"RUN": "mine", "--candidate 7": "--candidate 0", "relu.py --task kb/L1/19 --size small":
                      "scaled.py --task ./mine.py"}, " --no-verify --force"),
    "reading-a-report.md": ({"gelu": "mine"}, ""),
    "models.md": ({}, " --dry-run"),
}  # fmt: skip


@pytest.mark.parametrize("page", RUNS)
def test_the_commands_of_a_page_run(desk: Desk, page: str) -> None:
    """After the quick start, which made the run ``mine``; models are priced, not asked."""
    if not (desk.folder / "mine.html").exists():
        test_the_quick_start_is_walked(desk)
    replaced, added = RUNS[page]
    lines = [line for block in blocks(page) if block.tag == "console" for line in block.text.splitlines()]
    commands = [
        line.removeprefix("$ ").split(" #")[0].strip() for line in lines if line.startswith("$ kforge ")
    ]
    assert commands
    for command in commands:
        for old, new in replaced.items():
            command = command.replace(old, new)  # noqa: PLW2901
        desk.run(command + added)


def test_the_library_page_runs(desk: Desk) -> None:
    for block in blocks("quick-start.md"):
        if block.file is not None:
            (desk.folder / block.file).write_text(block.text)
    (script,) = (block.text for block in blocks("python.md") if block.tag == "python")
    (desk.folder / "script.py").write_text(script)
    said = desk.run("python script.py")
    assert "mismatch" in said
    assert "from-python finished 1 $0.00" in said
    assert "RunEnded" in said


def test_a_walk_without_blocks_would_be_noticed() -> None:
    files = [block.file for block in blocks("quick-start.md") if block.file]
    assert files == ["mine.py", "scaled.py"]
    assert sum(block.tag == "console" for block in blocks("quick-start.md")) >= 6
    assert os.path.exists(DOCS / "python.md")
