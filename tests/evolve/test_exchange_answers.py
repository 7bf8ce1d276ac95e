"""One prompt and what may be handed in for it: everything in the directory is hostile until parsed."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kforge.errors import InfraError, MissingPrerequisite
from kforge.search.exchange import MAX_MODEL_CHARS, ExchangeProposer
from kforge.search.exchange_files import MAX_FILE_BYTES
from kforge.search.proposer import Message, ProposalRequest, Reply, Unanswered
from tests.evolve.exchange_world import answer, document, exchange, put

ID = "r1-0004-0123456789ab"
REQUEST = ProposalRequest((Message("system", "Write kernels."), Message("user", "täsk")), 9, 4, 1000, ID)


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "mail"


@pytest.fixture
def proposer(mail: Path) -> ExchangeProposer:
    return exchange(mail)


def ask(proposer: ExchangeProposer, request: ProposalRequest = REQUEST) -> Reply | Unanswered:
    return asyncio.run(proposer.propose(request))


def rejected(proposer: ExchangeProposer, mail: Path) -> str:
    """Look once; the answer must be refused, in the file and to the watcher alike."""
    found = ask(proposer)
    assert isinstance(found, Unanswered)
    rejection = document(mail, f"{ID}.rejected.json")
    assert sorted(rejection) == ["file", "id", "reason", "sha256"]
    assert rejection["id"] == ID
    assert found.rejected == f"{rejection['file']}: {rejection['reason']}"
    return str(rejection["reason"])


def as_json(**fields: object) -> bytes:
    return json.dumps({"id": ID, "content": "text", **fields}).encode()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no answer"),
    "half written": (as_json()[:-9], "no answer"),
    "not JSON": (b"```python\n```", "no answer"),
    "not UTF-8": (b'{"id": "' + ID.encode() + b'", "content": "\xff\xfe"}', "no answer"),
    "a list": (b"[]", "no answer"),
    "deep": (b"[" * 200_000, "no answer"),
    "no content": (json.dumps({"id": ID}).encode(), "content"),
    "empty content": (as_json(content=" \n"), "empty"),
    "content of a wrong type": (as_json(content=["text"]), "content"),
    "no id": (b'{"content": "text"}', "id"),
    "another id": (as_json(id="r1-0005-ba9876543210"), "r1-0005"),
    "reasoning of a wrong type": (as_json(reasoning=3), "reasoning"),
    "long model": (as_json(model="m" * (MAX_MODEL_CHARS + 1)), "model"),
    "model with control characters": (as_json(model="\x1b[2J"), "model"),
    "negative usage": (as_json(usage={"prompt_tokens": -1}), "prompt_tokens"),
    "huge usage": (as_json(usage={"completion_tokens": 10**30}), "completion_tokens"),
    "usage that is no number": (as_json(usage={"usd": float("nan")}), "usd"),
    "usage of a wrong type": (as_json(usage="much"), "usage"),
    "too large": (as_json(content="x" * MAX_FILE_BYTES), "larger"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_answer_is_refused_and_the_prompt_stays_open(
    proposer: ExchangeProposer, mail: Path, name: str
) -> None:
    content, hint = HOSTILE[name]
    assert isinstance(ask(proposer), Unanswered)
    put(mail, f"{ID}.answer.json", content)
    reason = rejected(proposer, mail)
    assert hint in reason
    assert len(reason) < 600
    put(mail, f"{ID}.answer.json", as_json(model="m"))
    assert ask(proposer) == Reply("text", "", 0, 0, 0.0, "m")
    assert not (mail / f"{ID}.rejected.json").exists(), "a corrected answer is refused no longer"


def _symlink(path: Path) -> None:
    path.with_name("target").write_bytes(as_json())
    path.symlink_to(path.with_name("target"))


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(f"/proc/self/fd/{folder}/{path.name}")  # the whole path is too long for a socket
    os.close(folder)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "symbolic link": _symlink,
    "link to nowhere": lambda path: path.symlink_to("/none"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "pipe": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "socket": _socket,
}


@pytest.mark.parametrize("end", ["answer.json", "answer.md"])
@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_no_plain_file_is_refused_unopened(
    proposer: ExchangeProposer, mail: Path, name: str, end: str
) -> None:
    SPECIAL[name](mail / f"{ID}.{end}")
    assert "not a plain file" in rejected(proposer, mail)


def test_plain_text_is_an_answer(proposer: ExchangeProposer, mail: Path) -> None:
    put(mail, f"{ID}.answer.md", b"\xef\xbb\xbfAll of it, *verbatim*.\n")
    assert ask(proposer) == Reply("All of it, *verbatim*.\n", "", 0, 0, 0.0, None)


def test_text_that_is_not_utf_8_is_refused(proposer: ExchangeProposer, mail: Path) -> None:
    put(mail, f"{ID}.answer.md", b"caf\xe9")
    assert "UTF-8" in rejected(proposer, mail)


def test_text_that_is_being_written_is_no_answer_yet(mail: Path) -> None:
    proposer, path = exchange(mail, settle_s=0.05), mail / f"{ID}.answer.md"
    path.touch()
    assert isinstance(ask(proposer), Unanswered), "an editor or a redirection made it, and writes later"

    async def write_on() -> Reply | Unanswered:
        path.write_text("Half")
        os.utime(path, (2**33, 2**33))  # a clock that runs ahead does not keep it waiting for ever
        looking = asyncio.create_task(proposer.propose(REQUEST))
        await asyncio.sleep(0)
        path.write_text("Half and half")
        return await looking

    assert asyncio.run(write_on()) == Unanswered(str(mail), f"{ID}.prompt.json", "")
    assert ask(proposer) == Reply("Half and half", "", 0, 0, 0.0)
    assert not (mail / f"{ID}.rejected.json").exists()


@pytest.mark.parametrize("first", ["answer.json", "answer.md"])
def test_of_two_answers_the_first_wins(proposer: ExchangeProposer, mail: Path, first: str) -> None:
    answer(mail, ID, "json")
    put(mail, f"{ID}.answer.md", "text")
    os.utime(mail / f"{ID}.{first}", (1000, 1000))
    reply = ask(proposer)
    assert isinstance(reply, Reply)
    assert (reply.content == "text") == (first == "answer.md")
    rejection = document(mail, f"{ID}.rejected.json")
    assert rejection["file"] != f"{ID}.{first}"
    assert rejection["reason"] == f"the prompt was answered before, by {ID}.{first}"


def test_the_first_valid_answer_wins_over_an_earlier_one_that_is_none(
    proposer: ExchangeProposer, mail: Path
) -> None:
    put(mail, f"{ID}.answer.json", b"{")
    os.utime(mail / f"{ID}.answer.json", (1000, 1000))
    put(mail, f"{ID}.answer.md", "text")
    assert ask(proposer) == Reply("text", "", 0, 0, 0.0)
    assert document(mail, f"{ID}.rejected.json")["file"] == f"{ID}.answer.json"


def test_an_answer_that_replaces_the_taken_one_is_refused(proposer: ExchangeProposer, mail: Path) -> None:
    answer(mail, ID, "first")
    assert isinstance(ask(proposer), Reply)
    assert not (mail / f"{ID}.rejected.json").exists()
    answer(mail, ID, "second, longer")
    other = ProposalRequest(REQUEST.messages, 9, 5, 1000, "r1-0005-0123456789ab")
    assert isinstance(ask(proposer, other), Unanswered)
    assert "answered before" in document(mail, f"{ID}.rejected.json")["reason"]


def test_a_rejection_is_written_once(proposer: ExchangeProposer, mail: Path) -> None:
    put(mail, f"{ID}.answer.json", b"{")
    put(mail, f"{ID}.answer.md", b"\xff")
    rejected(proposer, mail)
    written = (mail / f"{ID}.rejected.json").stat()
    rejected(proposer, mail)
    assert (mail / f"{ID}.rejected.json").stat() == written
    put(mail, f"{ID}.answer.md", b"\xfe\xff")
    rejected(proposer, mail)
    assert (mail / f"{ID}.rejected.json").stat() != written


@pytest.mark.parametrize("there", [b"", b"{", b'{"id": "x"}', None], ids=repr)
def test_a_prompt_that_is_none_is_replaced(mail: Path, there: bytes | None) -> None:
    mail.mkdir(parents=True)
    path = mail / f"{ID}.prompt.json"
    if there is None:
        path.symlink_to("/etc/passwd")
    else:
        path.write_bytes(there)
    (mail / f".{ID}.prompt.json.tmp").symlink_to(mail / "victim")  # what a killed session, or a trap, left
    ask(exchange(mail))
    assert not path.is_symlink()
    assert document(mail, path.name)["messages"][1]["content"] == "täsk"
    assert [each.name for each in mail.iterdir()] == [path.name]


def test_a_full_disk_is_said_and_leaves_no_half_file(proposer: ExchangeProposer, mail: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # the write fails as on a full disk
    try:
        with pytest.raises(InfraError, match="File too large") as caught:
            ask(proposer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "df -h" in caught.value.next_step
    assert list(mail.iterdir()) == []
    assert isinstance(ask(proposer), Unanswered)
    assert list(mail.iterdir()) == [mail / f"{ID}.prompt.json"]


def test_a_directory_that_goes_away(proposer: ExchangeProposer, mail: Path) -> None:
    shutil.rmtree(mail)
    with pytest.raises(InfraError, match="No such file"):
        ask(proposer)


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_place_of_the_directory(tmp_path: Path, below: bool) -> None:
    (tmp_path / "mail").write_text("")
    with pytest.raises(MissingPrerequisite, match="cannot be made") as caught:
        exchange(tmp_path / "mail" / "deep" if below else tmp_path / "mail")
    assert "--model exchange:DIR" in caught.value.next_step
