"""Recordings: written from stored runs, read as hostile, and answered from."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from kforge.data.records import RunRecords
from kforge.errors import InfraError, UsageError
from kforge.search.models import replay
from kforge.search.models.replay import ReplayProposer, prompt_sha256, read_replies, write_replies
from kforge.search.proposer import Message, ProposalRequest, Reply
from tests.evolve.exchange_world import search_of
from tests.evolve.world import WorldPool, WorldProposer, config, make_run, open_store, run_session
from tests.models.asking import MESSAGES

LINE = {
    "ordinal": 0,
    "content": "c",
    "reasoning": "r",
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "usd": 0.5,
    "model": "gpt-5",
    "prompt_sha256": prompt_sha256(MESSAGES),
}


def recording(tmp_path: Path, *lines: object) -> Path:
    file = tmp_path / "replies.jsonl"
    file.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return file


def ask(file: Path, ordinal: int = 0, messages: tuple[Message, ...] = MESSAGES) -> Reply:
    return asyncio.run(ReplayProposer(file).propose(ProposalRequest(messages, 1, ordinal, 10)))


def test_a_recorded_reply_is_given_however_often(tmp_path: Path) -> None:
    file = recording(tmp_path, LINE, b"", {"ordinal": 7, "content": "alone"})
    assert ask(file) == ask(file) == Reply("c", "r", 3, 4, 0.5, "gpt-5")
    assert ask(file, 7) == Reply("alone", "", 0, 0, 0.0, None)
    made = ReplayProposer(file)
    assert (made.name, made.offline, made.keeps_requests) == ("replay", True, False)


def test_a_missing_reply_is_named(tmp_path: Path) -> None:
    file = recording(tmp_path, LINE, LINE | {"ordinal": 5})
    with pytest.raises(InfraError) as caught:
        ask(file, 6)
    for part in (str(file), "no reply for proposal 6", "it has 2, the highest for 5"):
        assert part in caught.value.message


def test_other_prompts_are_noticed(tmp_path: Path) -> None:
    file = recording(tmp_path, LINE)
    with pytest.raises(InfraError, match="other prompts"):
        ask(file, messages=(Message("user", "something else"),))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"{", "Invalid JSON"),
        (b"\xff\xfe\x00\x01", "Invalid JSON"),
        (b"[]", "line 2"),
        (b"null", "line 2"),
        (b"[" * 10_000, "line 2"),
        ({"content": "c"}, "ordinal"),
        ({"ordinal": 1}, "content"),
        (LINE, "ordinal 0 is there twice"),
        ({"ordinal": "1", "content": "c"}, "ordinal"),
        ({"ordinal": -1, "content": "c"}, "ordinal"),
        ({"ordinal": 2**60, "content": "c"}, "ordinal"),
        ({"ordinal": True, "content": "c"}, "ordinal"),
        ({"ordinal": 1, "content": None}, "content"),
        ({"ordinal": 1, "content": "c", "usd": "0.5"}, "usd"),
        ({"ordinal": 1, "content": "c", "usd": -1}, "usd"),
        (b'{"ordinal": 1, "content": "c", "usd": NaN}', "usd"),
        ({"ordinal": 1, "content": "c", "prompt_tokens": 1.5}, "prompt_tokens"),
        ({"ordinal": 1, "content": "c", "prompt_sha256": "abc"}, "prompt_sha256"),
        ({"ordinal": 1, "content": "c", "model": ""}, "model"),
        ({"ordinal": 1, "content": "c", "tokens": 1}, "tokens"),
        (b'{"ordinal": 1, "content": "\\ud800"}', "line 2"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path: Path, bad: object, words: str) -> None:
    file = recording(tmp_path, LINE, bad)
    with pytest.raises(UsageError) as caught:
        ReplayProposer(file)
    assert f"{file} is no recording of replies: line 2" in caught.value.message
    assert words in caught.value.message
    assert len(caught.value.message) < 500


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "not a plain file"),
        (tmp_path / "pipe", "not a plain file"),
        (Path("/dev/zero"), "not a plain file"),
        (recording(tmp_path), "holds no replies"),
    ):
        with pytest.raises(UsageError, match=words):
            ReplayProposer(path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = recording(tmp_path, LINE, {"ordinal": 1, "content": "x" * 2000})
    monkeypatch.setattr(replay, "MAX_LINE_BYTES", 1000)
    with pytest.raises(UsageError, match="line 2 has more than 1000 bytes"):
        ReplayProposer(file)
    monkeypatch.setattr(replay, "MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(replay, "MAX_FILE_BYTES", 1000)
    with pytest.raises(UsageError, match="at line 2 it is larger than 1000 bytes"):
        ReplayProposer(file)


# ----------------------------------------------------------------------------------------- from real runs


def recorded_run(directory: Path, evals: int) -> RunRecords:
    directory.mkdir()
    with open_store(directory) as store:
        run_session(store, config(evals), WorldPool(), WorldProposer())
        return store.load_run(make_run(store))


def replayed_run(directory: Path, file: Path, evals: int, seed: int = 7) -> RunRecords:
    directory.mkdir()
    with open_store(directory) as store:
        run_id = make_run(store, seed=seed)
        run_session(store, config(evals, seed=seed), WorldPool(), ReplayProposer(file), run_id=run_id)
        return store.load_run(run_id)


def test_a_stored_run_is_written_and_decides_again_as_it_did(tmp_path: Path) -> None:
    first = recorded_run(tmp_path / "a", 12)
    file = tmp_path / "replies.jsonl"
    assert write_replies(file, first) == len(first.proposals) == len(read_replies(file))
    second = replayed_run(tmp_path / "b", file, 12)
    assert search_of(second) == search_of(first)
    assert [p.reply and p.reply.usd for p in second.proposals] == [
        p.reply and p.reply.usd for p in first.proposals
    ]
    assert {p.model for p in second.proposals} == {"replay: world"}
    copy = tmp_path / "copy.jsonl"
    write_replies(copy, second)
    assert copy.read_bytes() == file.read_bytes()


def test_another_seed_is_another_run_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    write_replies(file, recorded_run(tmp_path / "a", 12))
    with pytest.raises(InfraError, match="recorded with other prompts"):
        replayed_run(tmp_path / "b", file, 12, seed=8)


def test_a_run_beyond_its_recording_ends(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    write_replies(file, recorded_run(tmp_path / "a", 6))
    with pytest.raises(InfraError, match="no reply for proposal"):
        replayed_run(tmp_path / "b", file, 12)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    records = recorded_run(tmp_path / "a", 2)
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        write_replies(tmp_path / "none" / "replies.jsonl", records)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        write_replies(tmp_path / "folder", records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]
