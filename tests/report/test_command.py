"""``kforge report RUN --html FILE`` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kforge.data.store import Store
from tests.cli.terminal import Terminal, environment
from tests.store.samples import at, candidate, new_run, scored


@pytest.fixture
def kforge(tmp_path: Path) -> Terminal:
    """A desk with one stored run, ``demo``, that has one evaluation."""
    desk = tmp_path / "desk"
    desk.mkdir()
    with Store.open(f"sqlite:///{desk / 'runs.sqlite'}") as store:
        run = new_run(store)
        store.record_evaluation(candidate(store, run, 0), scored(1.0), at(1))
    return Terminal(desk, environment(tmp_path / "home", tmp_path / "cache"))


def test_writes_one_page(kforge: Terminal) -> None:
    done = kforge("report", "demo", "--html", "r.html", "--store", "runs.sqlite")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("wrote r.html (")
    page = (kforge.cwd / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "kb/L2/17" in page
    assert page.rstrip().endswith("</html>")
