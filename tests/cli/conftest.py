"""A terminal in a directory of its own; one build cache for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import TASK, Terminal, environment


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory that lives as long as the session: the shim is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def kforge(tmp_path: Path, cache: Path) -> Terminal:
    """The command line, with an empty home; its directory holds ``mine.py``, a task."""
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "mine.py").write_text(TASK)
    return Terminal(desk, environment(tmp_path / "home", cache))
