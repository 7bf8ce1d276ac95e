"""What real models answered is read as a person decided it should be."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus import entries, record
from tests.corpus.entries import Entry, FailedDecision, ParsedDecision, agree, decide, files, read


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.name))
def test_every_decision_holds(path: Path) -> None:
    wrong = [
        f"{entry.id}: expected {entry.decision}, got {actual}"
        for entry in read(path)
        if not agree(entry.decision, actual := decide(entry.reply, entry.parent))
    ]
    assert wrong == []


def test_ids_are_unique() -> None:
    count = Counter(entry.id for path in files() for entry in read(path))
    assert [name for name, times in count.items() if times > 1] == []


def test_a_decision_is_compared_as_the_proposer_sees_it() -> None:
    old = FailedDecision("read python block 1 of 1: line 3: not valid Python: invalid syntax")
    assert agree(old, FailedDecision("read python block 1 of 1: line 4: not valid Python: was never closed"))
    assert not agree(
        old, FailedDecision("read python block 1 of 2: line 3: not valid Python: invalid syntax")
    )
    assert not agree(old, ParsedDecision("sycl", "1"))


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.xz"])
def test_recording_appends_and_never_overwrites(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entries, "CORPUS", tmp_path)
    monkeypatch.setattr(record, "CORPUS", tmp_path)
    given = {"model": "m", "language": "sycl", "task": "kb/L1/1", "kind": "first", "parent": None}
    (tmp_path / "in").mkdir()
    more = tmp_path / "in" / "more.jsonl"
    lines = [
        json.dumps({**given, "reply": reply}) + "\n" for reply in ("no\u2028kernel", "none\r\n", "none\r\n")
    ]
    more.write_text("".join(lines), encoding="utf-8")
    arguments = [f"x.{suffix}", str(tmp_path / "in")]
    assert record.main(arguments) == 0
    assert [entry.reply for entry in read(tmp_path / f"x.{suffix}")] == ["no\u2028kernel", "none\r\n"]
    assert record.main(arguments) == 0
    assert len(list(read(tmp_path / f"x.{suffix}"))) == 2
    assert "0 added (0 failed), 3 known already, 0 of them" in capsys.readouterr().out
    monkeypatch.setattr(record, "decide", lambda reply, parent: ParsedDecision("sycl", "other"))
    assert record.main(arguments) == record.REFUSED
    assert all(isinstance(entry.decision, FailedDecision) for entry in read(tmp_path / f"x.{suffix}"))
    monkeypatch.undo()
    assert record.main(["x.txt", str(more)]) == record.USAGE


def corpus() -> list[Entry]:
    return [entry for path in files() for entry in read(path)]


def test_every_reply_has_words_and_an_author() -> None:
    assert [entry.id for entry in corpus() if not (entry.reply and entry.model and entry.task)] == []


def test_the_corpus_is_broad() -> None:
    every = corpus()
    failures = [entry.decision for entry in every if isinstance(entry.decision, FailedDecision)]
    # Figures differ from reply to reply; what remains names the class.
    classes = {re.sub(r"\d+", "N", decision.stem)[:60] for decision in failures}
    assert len(every) >= 200
    assert {entry.language for entry in every} == {"cuda", "sycl"}
    assert len({entry.model for entry in every}) >= 2
    assert len(failures) >= 10
    assert len(classes) >= 4
