"""Verdicts in the store, and what lists, evaluations and reports say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from kforge.data.standing import standing_of, unknown
from kforge.data.store import Store
from kforge.data.tasks.registry import resolve
from kforge.data.verdicts import (
    AdmissionVerdict,
    Checked,
    CheckedWorkload,
    Finding,
    Judged,
    NewAdmission,
    NotApplicable,
    Unchecked,
)
from kforge.eval.harness import harness_version
from kforge.report.page import page_of
from tests.admission.sources import MATMUL, written
from tests.cli.terminal import Terminal, environment
from tests.report.runs import Told, records_of, report
from tests.store.samples import at

WORKLOADS = (CheckedWorkload("default", {"x": "4x8"}, ("4",), {"rows": ("64", "4")}),)


def checked(*accepted_by: str) -> Checked:
    findings: tuple[Finding, ...] = (
        Judged("zeros", accepted_by, 0.5, None),  # type: ignore[arg-type]
        NotApplicable("affine", "no input has as many values as the output"),
    )
    return Checked(findings, WORKLOADS, "a rule", 1.5)


def stored(store: Store, verdict: AdmissionVerdict, second: float, **changed: str) -> None:
    values: Mapping[str, str] = {
        "task_id": "t",
        "task_hash": "h",
        "size": "shrunk",
        "harness": "now",
        **changed,
    }
    store.record_admission(NewAdmission(**values, verdict=verdict), at(second))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 's.sqlite'}")


def test_a_verdict_comes_back_as_it_was_stored_newest_first(store: Store) -> None:
    with store:
        stored(store, checked("kforge", "kernelbench"), 1)
        stored(store, Unchecked("a reason with NUL \0 and \ud800", 2.0), 2)
        stored(store, checked(), 3, task_hash="other")
        newest, oldest = store.find_admissions("h")
        assert [each.value.task_hash for each in store.find_admissions()] == ["other", "h", "h"]
    assert oldest.value == NewAdmission("t", "h", "shrunk", "now", checked("kforge", "kernelbench"))
    assert oldest.created_at == at(1)
    assert isinstance(newest.value.verdict, Unchecked)


def test_the_verdict_of_todays_evaluator_counts_then_the_asked_size_then_the_newest(store: Store) -> None:
    with store:
        stored(store, checked("kforge"), 1, harness="old", size="full")
        assert standing_of("t", store.find_admissions("h"), "full", "now").current is False
        assert (
            "another version of the evaluator"
            in standing_of("t", store.find_admissions(), "full", "now").line
        )
        stored(store, checked("kernelbench_v0"), 2)
        stored(store, Unchecked("it was not done", 9.0), 3, size="full")
        weak = standing_of("t", store.find_admissions("h"), "full", "now")
        assert (weak.status, weak.size, weak.current) == ("weak", "shrunk", True)
        stored(store, checked(), 4, size="full")
        assert standing_of("t", store.find_admissions("h"), "full", "now").status == "admitted"
        assert standing_of("t", store.find_admissions("h"), "shrunk", "now").status == "weak"
    assert standing_of("t", [], "full", "now") == unknown("t")
    assert unknown("my task").next == "kforge tasks check 'my task'"


def test_every_output_shows_a_degenerate_task(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    kforge = Terminal(desk, environment(tmp_path / "home", tmp_path / "cache"))
    (path,) = written(desk, mine=MATMUL)
    (desk / "not.py").write_text("no candidate\n")
    task = resolve(str(path))
    embedded = resolve("kb/L1/1")
    url = f"sqlite:///{tmp_path / 'home' / 'kforge.sqlite'}"

    fresh = kforge("eval", "not.py", "--task", "mine.py", "--json").document
    assert fresh["status"] == "parse_failed"
    assert fresh["task_admission"]["status"] == "unknown"
    assert fresh["task_admission"]["next"] == f"kforge tasks check {path}"

    with Store.open(url) as opened:
        for each in (task, embedded):
            stored(opened, checked("kforge"), 1, task_hash=each.hash, harness=harness_version())
        config = {"task": task.id, "task_hash": task.hash, "models": ["offline"], "evals": 1}
        opened.create_run(
            name="demo", task_id=task.id, size="full", language="sycl", seed=0, config=config, now=at(0)
        )
    line = "degenerate; kforge accepts zeros (size shrunk)"
    assert kforge("eval", "not.py", "--task", "mine.py", "--json").document["task_admission"] == {
        "status": "degenerate", "line": line, "next": f"kforge tasks check {path}", "size": "shrunk",
        "current": True, "checked_at": "2030-01-02T03:04:06.678901Z", "accepted": {"kforge": ["zeros"]},
    }  # fmt: skip
    assert f"task admission: {line}" in kforge("report", "demo").out
    assert kforge("report", "demo", "--html", "r.html").code == 0
    page = (desk / "r.html").read_text(encoding="utf-8")
    assert "This task is degenerate." in page
    assert line in page
    assert kforge("tasks", "show", "mine.py", "--json").document["admission"]["line"] == line
    listed = {each["id"]: each["admission"] for each in kforge("tasks", "list", "--json").document}
    assert (listed["kb/L1/1"], listed["kb/L1/3"]) == ("degenerate", "unknown")


def test_a_page_of_a_run_that_nobody_checked_says_so() -> None:
    page = page_of(report(records_of([Told()])))
    assert re.search(r"not checked · <code>kforge tasks check kb/L9/1</code>", page)
    assert "This task is degenerate" not in page
