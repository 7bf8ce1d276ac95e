"""The record of the last GPU run: what counts as green, and what makes it stale."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.gpu_evidence import (
    FOLDERS,
    RECORD,
    check,
    collected,
    folder_hash,
    merged,
    results_of,
    run_tests,
)

JUNIT = """<testsuites><testsuite>
<testcase classname="t" name="a"/><testcase classname="t" name="b"><failure/></testcase>
<testcase classname="t" name="c"><error/></testcase><testcase classname="t" name="d"><skipped/></testcase>
<testcase classname="t" name="e"><properties/></testcase></testsuite></testsuites>"""
CARD = {"device": "a card", "hashes": {"kforge/eval": "1"}}
PART = {"date": "today", "command": "pytest", "seconds": 1.0}


def test_results_are_read(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(JUNIT)
    words = {"a": "passed", "b": "failed", "c": "failed", "d": "skipped", "e": "passed"}
    assert results_of(report) == {f"t::{name}": word for name, word in words.items()}


def test_parts_add_up_to_green() -> None:
    wanted = ["t::a", "t::b"]
    first = merged({}, CARD, PART, {"t::a": "passed"}, wanted)
    assert not first["green"]
    assert first["tests"] == {"passed": 1, "failed": 0, "skipped": 0, "not run": 1}
    second = merged(first, CARD, PART, {"t::b": "passed"}, wanted)
    assert second["green"]
    assert len(second["parts"]) == 2


def test_parts_of_other_code_do_not_count() -> None:
    first = merged({}, CARD, PART, {"t::a": "passed"}, ["t::a", "t::b"])
    changed = CARD | {"hashes": {"kforge/eval": "2"}}
    second = merged(first, changed, PART, {"t::b": "passed"}, ["t::a", "t::b"])
    assert not second["green"]
    assert second["tests"]["not run"] == 1


def test_a_failure_or_no_test_at_all_is_not_green() -> None:
    assert not merged({}, CARD, PART, {"t::a": "failed"}, ["t::a"])["green"]
    assert not merged({}, CARD, PART, {}, [])["green"]


def test_unchanged_code_is_current_and_changed_code_is_not(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    hashes = {folder: folder_hash(folder) for folder in FOLDERS}
    record.write_text(json.dumps({"green": True, "hashes": hashes}))
    assert check(record) == []
    record.write_text(json.dumps({"green": True, "hashes": hashes | {"kforge/eval": "0" * 64}}))
    stale = check(record)
    assert len(stale) == 1
    assert "kforge/eval has changed" in stale[0]


def test_a_missing_or_torn_record_is_told(tmp_path: Path) -> None:
    assert "is no record" in check(tmp_path / "none.json")[0]
    (tmp_path / "torn.json").write_text("{")
    assert "is no record" in check(tmp_path / "torn.json")[0]


def test_tests_that_record_properties_are_run_and_counted(tmp_path: Path) -> None:
    """Under this project's own rule that warnings are errors; a report of the newer family refuses them."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    (tmp_path / "test_it.py").write_text(
        "def test_one(record_property):\n    record_property('speedup', 2.0)\n\n\ndef test_two():\n    pass\n"
    )
    code, results = run_tests(("-m", "pytest", "-q", "."), tmp_path / "junit.xml", tmp_path)
    assert code == 0
    assert results == {"test_it::test_one": "passed", "test_it::test_two": "passed"}


def test_collected_ids_are_those_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("")
    (tmp_path / "tests" / "test_it.py").write_text(
        "import pytest\n\n\n@pytest.mark.parametrize('x', ['a b', 'c::d'])\ndef test_x(x):\n    pass\n"
    )
    command = ("-m", "pytest")
    _, results = run_tests((*command, "tests"), tmp_path / "junit.xml", tmp_path)
    assert len(results) == 2
    assert sorted(collected(command, tmp_path)) == sorted(results)


def test_a_run_that_was_not_green_is_told(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    hashes = {folder: folder_hash(folder) for folder in FOLDERS}
    counts = {"passed": 28, "failed": 26, "skipped": 0}
    record.write_text(json.dumps({"green": False, "date": "today", "tests": counts, "hashes": hashes}))
    assert "was not green" in check(record)[0]


def test_the_published_record_says_what_ran_where() -> None:
    record = json.loads(RECORD.read_text())
    assert record["tests"]["passed"] > 0
    assert record["green"] == (record["tests"]["failed"] == 0 == record["tests"].get("not run", 0))
    assert record["device"]
    assert record["date"]
    assert set(record["hashes"]) == set(FOLDERS)
