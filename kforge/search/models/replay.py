"""Recorded replies: a stored run's are written to a file, and a proposer answers from it.

One JSON object a line. With the same seed and the same replies a run makes the same decisions; the hash of
the prompt says so when it does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from kforge.codec import from_json, to_json
from kforge.data.records import Proposal, RunRecords
from kforge.errors import NoMoreReplies, UsageError
from kforge.search.proposer import Message, ProposalRequest, Reply, StandIn, signature
from kforge.types import TaskDescription

MAX_LINE_BYTES = 16_000_000
MAX_FILE_BYTES = 512_000_000
_Tokens = Annotated[int, Field(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """One line of a recording.

    Attributes:
        ordinal: number of the proposal that it answers.
        model: who wrote it.
        prompt_sha256: of the prompt that it answers, as ``prompt_sha256`` reckons it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    ordinal: _Tokens
    content: str
    reasoning: str = ""
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0
    usd: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0
    model: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    prompt_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


_LINE: TypeAdapter[RecordedReply] = TypeAdapter(RecordedReply)


def prompt_sha256(messages: Sequence[Message]) -> str:
    """Identity of a prompt: roles and contents."""
    text = json.dumps([[message.role, message.content] for message in messages])
    return hashlib.sha256(text.encode()).hexdigest()


class ReplayProposer(StandIn):
    """Answers proposal ``k`` with the recorded reply ``k``, however often it is asked."""

    def __init__(self, file: Path) -> None:
        """Read a recording.

        Raises:
            UsageError: the file is missing or malformed; the message names the line.
        """
        self._file = file
        self._replies = read_replies(file)

    @property
    def name(self) -> str:
        """What every output calls this proposer."""
        return "replay"

    def supports(self, task: TaskDescription) -> str | None:
        """None: the hashes of the prompts tell whether the recording is of this task."""
        return None

    async def propose(self, request: ProposalRequest) -> Reply:
        """The recorded reply, with what it cost when it was recorded.

        Raises:
            NoMoreReplies: there is none, or it answers another prompt.
        """
        found = self._replies.get(request.ordinal)
        if found is None:
            raise NoMoreReplies(
                f"{self._file} has no reply for proposal {request.ordinal};"
                f" it has {len(self._replies)}, the highest for {max(self._replies)}.",
                "make fewer evaluations (--evals), or record a longer run",
            )
        asked = prompt_sha256(request.messages)
        if found.prompt_sha256 not in (None, asked):
            raise NoMoreReplies(
                f"{self._file} was recorded with other prompts: proposal {request.ordinal} has prompt"
                f" {asked[:12]}, the recording {str(found.prompt_sha256)[:12]}.",
                "repeat task, size, device, seed and version of the recorded run; leave prompt_sha256 out of"
                " the file to use its replies all the same",
            )
        return Reply(
            found.content,
            found.reasoning,
            found.prompt_tokens,
            found.completion_tokens,
            found.usd,
            found.model,
        )


def read_replies(file: Path) -> dict[int, RecordedReply]:
    """The replies of a recording by ordinal.

    Raises:
        UsageError: the file is missing, too large, empty or malformed; the message names the line.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise _unusable(file, "it is not a plain file")
        with file.open("rb") as opened:
            replies = _parsed(file, opened)
    except OSError as error:
        raise _unusable(file, error.strerror or str(error)) from error
    if not replies:
        raise _unusable(file, "it holds no replies")
    return replies


def _parsed(file: Path, opened: BinaryIO) -> dict[int, RecordedReply]:
    replies: dict[int, RecordedReply] = {}
    number = total = 0
    while line := opened.readline(MAX_LINE_BYTES + 1):
        number += 1
        total += len(line)
        if len(line) > MAX_LINE_BYTES:
            raise _unusable(file, f"line {number} has more than {MAX_LINE_BYTES} bytes")
        if total > MAX_FILE_BYTES:
            raise _unusable(file, f"at line {number} it is larger than {MAX_FILE_BYTES} bytes")
        if not line.strip():
            continue
        try:
            reply = _LINE.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _unusable(file, f"line {number}: {where + ': ' if where else ''}{first['msg']}") from None
        if reply.ordinal in replies:
            raise _unusable(file, f"line {number}: ordinal {reply.ordinal} is there twice")
        replies[reply.ordinal] = reply
    return replies


def _unusable(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file} is no recording of replies: {why}.",
        'write one object a line, such as {"ordinal": 0, "content": "..."}; docs/models.md names the fields',
    )


def write_replies(path: Path, records: RunRecords) -> int:
    """Write a stored run's replies as a recording, in the order of their proposals.

    The user's own files (``--from``) are no replies; a run that replays is given them again.

    Returns:
        How many there are: every proposal that was answered, with what it cost.

    Raises:
        UsageError: there are none, or the file cannot be written; what was there before still is.
    """
    answered = [p for p in records.proposals if p.reply is not None and p.kind != "given"]
    if not answered:
        raise UsageError(f"Run {records.run.name!r} has no replies yet.", "kforge runs list")
    if path.is_dir() or not path.name:
        raise UsageError(f"{path} is a directory.", "name the file to write")
    lines = [to_json(_recorded(proposal)) + "\n" for proposal in answered]
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}.", f"ls -ld {path.parent}") from error
    return len(lines)


def _recorded(proposal: Proposal) -> RecordedReply:
    reply = proposal.reply
    assert reply is not None
    proposer, model = signature(proposal.model)
    messages = from_json(tuple[Message, ...], proposal.prompt)
    return RecordedReply(
        proposal.ordinal, reply.text, reply.reasoning or "", reply.prompt_tokens, reply.completion_tokens,
        reply.usd, model or proposer, prompt_sha256(messages),
    )  # fmt: skip
