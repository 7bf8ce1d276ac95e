"""A person or a coding agent as the model: prompts go out and answers come in as files of one directory.

``docs/exchange.md`` is the protocol. Whatever lies in the directory is hostile until parsed here: an answer
is taken, or refused in ``ID.rejected.json`` with the reason, and the prompt stays open.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from kforge.clock import Clock
from kforge.codec import from_json
from kforge.errors import InfraError
from kforge.search import exchange_files as files
from kforge.search.exchange_files import RefusedError, Signature
from kforge.search.proposer import FreeOfCharge, Message, ProposalRequest, Reply, Unanswered
from kforge.types import TaskDescription

LIFETIME = timedelta(hours=24)
# Editors and redirections write a plain answer.md in place: it counts once it was left alone for so long.
SETTLE_S = 2.0
MAX_MODEL_CHARS = 200
_LARGEST = 2**53
_JSON, _TEXT = ".answer.json", ".answer.md"

ANSWER_SCHEMA: dict[str, object] = {
    "type": "object",
    "required": ["id", "content"],
    "properties": {
        "id": {"type": "string", "description": "id of the prompt"},
        "content": {"type": "string", "description": "the reply, with the candidate file in a fence"},
        "reasoning": {"type": ["string", "null"], "description": "thoughts, kept word for word"},
        "model": {"type": ["string", "null"], "maxLength": MAX_MODEL_CHARS, "description": "who answers"},
        "usage": {
            "type": ["object", "null"],
            "properties": {
                "prompt_tokens": {"type": "integer", "minimum": 0},
                "completion_tokens": {"type": "integer", "minimum": 0},
                "usd": {"type": "number", "minimum": 0},
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, if its writer knows.

    Raises:
        ValueError: a figure is negative, huge or no number.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "completion_tokens", "usd"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= _LARGEST):
                raise ValueError(f"usage.{name} is {value}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of ``ID.answer.json``.

    Raises:
        ValueError: the model's name is too long or would upset a terminal.
    """

    id: str
    content: str
    reasoning: str | None = None
    model: str | None = None
    usage: Usage | None = None

    def __post_init__(self) -> None:
        if self.model is not None and not (self.model.isprintable() and len(self.model) <= MAX_MODEL_CHARS):
            raise ValueError(f"model is not a printable name of at most {MAX_MODEL_CHARS} characters")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The content of ``ID.prompt.json``; times are UTC in ISO 8601."""

    id: str
    messages: tuple[Message, ...]
    expires_at: str
    answer_schema: dict[str, object]


@dataclass(frozen=True, slots=True)
class Rejection:
    """The content of ``ID.rejected.json``; the hash says which bytes of the file were meant."""

    id: str
    file: str
    reason: str
    sha256: str


@dataclass(slots=True)
class _Taken:
    """An answered prompt: the file that was taken, and every answer file that was dealt with."""

    file: str
    seen: dict[str, Signature] = field(default_factory=dict)


class ExchangeProposer(FreeOfCharge):
    """Asks by file. A look never waits for an answer: the loop looks again, in this session or another."""

    def __init__(
        self, directory: Path, clock: Clock, lifetime: timedelta = LIFETIME, settle_s: float = SETTLE_S
    ) -> None:
        """Make the directory if it is missing.

        Args:
            directory: where prompts and answers lie; several runs may share it.
            clock: time, for ``expires_at``.
            lifetime: how long a prompt asks to be answered; a later answer still counts.
            settle_s: how long a plain ``ID.answer.md`` must have been left alone.

        Raises:
            MissingPrerequisite: the directory cannot be made or written.
        """
        self._directory = directory
        self._clock = clock
        self._lifetime = lifetime
        self._settle_s = settle_s
        self._posted: set[str] = set()
        self._taken: dict[str, _Taken] = {}
        files.require_writable(
            directory, "name another with --model exchange:DIR; a stored run takes it after --resume NAME too"
        )

    @property
    def name(self) -> str:
        """What every output calls this proposer."""
        return "exchange"

    @property
    def offline(self) -> bool:
        """False: somebody writes the answers."""
        return False

    @property
    def keeps_requests(self) -> bool:
        """True: a prompt stays in its directory and can be answered while no kforge runs."""
        return True

    def supports(self, task: TaskDescription) -> str | None:
        """None: whoever answers may know any task."""
        return None

    async def propose(self, request: ProposalRequest) -> Reply | Unanswered:
        """Write the prompt unless it is there, and look for its answer.

        Raises:
            InfraError: the directory can no longer be read or written. The prompt stays open.
        """
        try:
            self._post(request)
            self._reject_latecomers()
            return await self._answer(request.id)
        except OSError as error:
            place = error.filename or self._directory
            raise InfraError(
                f"The exchange directory cannot be used: {place}: {error.strerror or error}."
                " The prompts and answers that it holds are kept.",
                f"see `df -h {self._directory}` and `ls -ld {self._directory}`",
            ) from error

    def _post(self, request: ProposalRequest) -> None:
        """Write ``ID.prompt.json``; one that holds these messages already is left as it is."""
        path = self._path(request.id, ".prompt.json")
        if request.id in self._posted and files.look(path) is not None:
            return
        if not _is_posted(path, request):
            expires_at = (self._clock.now() + self._lifetime).isoformat(timespec="seconds")
            files.write(path, Prompt(request.id, request.messages, expires_at, ANSWER_SCHEMA))
        self._posted.add(request.id)

    async def _answer(self, prompt_id: str) -> Reply | Unanswered:
        """Take the first valid answer; refuse what else is there."""
        seen: dict[str, Signature] = {}
        refused: tuple[str, str] | None = None
        for name, signature in sorted(
            self._answers(prompt_id).items(), key=lambda found: found[1].changed_ns
        ):
            try:
                content, seen[name] = await self._settled(name)
                reply = _parsed(name, content, prompt_id)
            except FileNotFoundError:
                continue  # taken back, or still being written
            except RefusedError as error:
                seen.setdefault(name, signature)
                refused = name, str(error)
                continue
            self._clear_rejection(prompt_id, name)
            self._taken[prompt_id] = _Taken(name, seen)
            break
        else:
            reply = None
        if refused is not None:
            self._reject(prompt_id, *refused)
        if reply is not None:
            self._reject_latecomers()
            return reply
        rejected = "" if refused is None else ": ".join(refused)
        return Unanswered(str(self._directory), f"{prompt_id}.prompt.json", rejected)

    def _reject_latecomers(self) -> None:
        """Refuse answers to prompts that were answered before: the first valid one has won."""
        for prompt_id, taken in self._taken.items():
            for name, signature in self._answers(prompt_id).items():
                if taken.seen.get(name) != signature:
                    taken.seen[name] = signature
                    self._reject(prompt_id, name, f"the prompt was answered before, by {taken.file}")

    def _answers(self, prompt_id: str) -> dict[str, Signature]:
        """The answer files of a prompt, whatever they are, by name."""
        found = {prompt_id + end: files.look(self._path(prompt_id, end)) for end in (_JSON, _TEXT)}
        return {name: signature for name, signature in found.items() if signature is not None}

    async def _settled(self, name: str) -> tuple[bytes, Signature]:
        """An answer file's bytes.

        Raises:
            FileNotFoundError: there is no such file, or it is an ``answer.md`` that is being written.
            RefusedError: it is no plain file, or too large.
        """
        path = self._directory / name
        content, signature = files.read(path)
        if not name.endswith(_TEXT):
            return content, signature
        if not content.strip():
            raise FileNotFoundError(f"{name} is still empty")
        age_s = self._clock.now().timestamp() - signature.changed_ns / 1e9
        if age_s < self._settle_s:
            # A clock that ran ahead where the file was written makes it wait once, not for hours.
            await asyncio.sleep(min(self._settle_s, self._settle_s - age_s))
            if files.look(path) != signature:
                raise FileNotFoundError(f"{name} is still being written")
        return content, signature

    def _reject(self, prompt_id: str, name: str, reason: str) -> None:
        """Write ``ID.rejected.json``, once for the same bytes."""
        try:
            content = files.read(self._directory / name)[0]
        except (FileNotFoundError, RefusedError):
            content = b""
        rejection = Rejection(prompt_id, name, reason, hashlib.sha256(content).hexdigest())
        if self._rejection(prompt_id) != rejection:
            files.write(self._path(prompt_id, ".rejected.json"), rejection)

    def _clear_rejection(self, prompt_id: str, name: str) -> None:
        """A file that was refused and then corrected is refused no longer."""
        rejection = self._rejection(prompt_id)
        if rejection is not None and rejection.file == name:
            self._path(prompt_id, ".rejected.json").unlink(missing_ok=True)

    def _rejection(self, prompt_id: str) -> Rejection | None:
        try:
            return from_json(Rejection, files.read(self._path(prompt_id, ".rejected.json"))[0])
        except (FileNotFoundError, RefusedError, ValueError):
            return None

    def _path(self, prompt_id: str, end: str) -> Path:
        return self._directory / (prompt_id + end)


def _is_posted(path: Path, request: ProposalRequest) -> bool:
    """Whether a prompt file asks just this."""
    try:
        found = from_json(Prompt, files.read(path)[0])
    except (FileNotFoundError, RefusedError, ValueError):
        return False
    return (found.id, found.messages) == (request.id, request.messages)


def _parsed(name: str, content: bytes, prompt_id: str) -> Reply:
    """The reply that an answer file holds.

    Raises:
        RefusedError: it holds none.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if name.endswith(_TEXT):
        try:
            return Reply(content.decode(), "", 0, 0, 0.0)
        except UnicodeDecodeError as error:
            raise RefusedError(f"it is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        answer = from_json(Answer, content)
    except ValueError as error:
        raise RefusedError(f"it is no answer: {_in_one_line(error)}") from error
    if answer.id != prompt_id:
        raise RefusedError(f"its id is {answer.id[:MAX_MODEL_CHARS]!r}, the prompt's is {prompt_id!r}")
    if not answer.content.strip():
        raise RefusedError("its content is empty")
    usage = answer.usage or Usage()
    return Reply(
        content=answer.content,
        reasoning=answer.reasoning or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        usd=usage.usd,
        model=answer.model or None,
    )


def _in_one_line(error: ValueError) -> str:
    """What the validator says, without the hostile input and without its advertisement."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line.partition(" [type=")[0] for line in lines[1:] if not line.startswith("For further")]
    return "; ".join(kept or lines)[:500]
