"""The record of the last GPU run: what counts as green, and what makes it stale."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.gpu_evidence import FOLDERS, RECORD, check, count, folder_hash, run_tests

JUNIT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"><failure/></testcase>
<testcase name="c"><error/></testcase><testcase name="d"><skipped/></testcase>
<testcase name="e"><properties/></testcase></testsuite></testsuites>"""


def test_results_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(JUNIT)
    assert count(report) == {"passed": 2, "failed": 2, "skipped": 1}


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
    code, counts = run_tests(("-m", "pytest", "-q", "."), tmp_path / "junit.xml", tmp_path)
    assert code == 0
    assert counts == {"passed": 2, "failed": 0, "skipped": 0}


def test_a_run_that_was_not_green_is_told(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    hashes = {folder: folder_hash(folder) for folder in FOLDERS}
    counts = {"passed": 28, "failed": 26, "skipped": 0}
    record.write_text(json.dumps({"green": False, "date": "today", "tests": counts, "hashes": hashes}))
    assert "was not green" in check(record)[0]


def test_the_published_record_says_what_ran_where() -> None:
    record = json.loads(RECORD.read_text())
    assert record["tests"]["passed"] > 0
    assert record["green"] == (record["tests"]["failed"] == 0)
    assert record["device"]
    assert record["date"]
    assert set(record["hashes"]) == set(FOLDERS)
