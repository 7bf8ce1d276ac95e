"""What a chat server sends: pieces of choices and a count of tokens, put together into completions.

Whole replies and streams are read the same way. Nothing a server sends is trusted to have its shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kforge.codec import from_json

CHARS_PER_TOKEN = 4
_LARGEST = 2**53
_OPEN, _CLOSE = "<think>", "</think>"


class UnreadableError(Exception):
    """A server sent something that is no reply."""


class ServerSaidError(Exception):
    """A server reported an error inside a reply; ``codes`` are its own words for it."""

    def __init__(self, text: str, codes: frozenset[str]) -> None:
        super().__init__(text)
        self.text = text
        self.codes = codes


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled reply.

    Attributes:
        content: what the model answers; empty when it said nothing, or only thought.
        reasoning: its thoughts, word for word.
        finish_reason: why it ended, in the server's word (``stop``, ``length``); None when it gave none.
    """

    content: str
    reasoning: str
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens of one or more requests.

    Attributes:
        prompt_tokens: of the prompt, those from and into the cache included.
        cached_tokens: of these, read from the server's cache: cheaper.
        written_tokens: of these, written to the server's cache: dearer at some.
        estimated: True when the server did not say, so that a part of it is counted from characters.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.written_tokens + other.written_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
        )


def estimated_tokens(characters: int) -> int:
    """Tokens of a text whose tokens nobody counted: four characters each, rounded up."""
    return -(-characters // CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class _Text:
    content: str | None = None
    reasoning: object = None
    reasoning_content: object = None


@dataclass(frozen=True, slots=True)
class _Choice:
    index: int = 0
    message: _Text | None = None
    delta: _Text | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Body:
    choices: tuple[_Choice, ...] | None = None
    usage: object = None
    model: object = None
    error: object = None


@dataclass(slots=True)
class _Draft:
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: str | None = None


class Assembly:
    """Puts one reply together from one body, or from the events of a stream."""

    def __init__(self, prompt_characters: int) -> None:
        """Start with nothing.

        Args:
            prompt_characters: length of the prompt, for the estimate when the server counts no tokens.
        """
        self._prompt_characters = prompt_characters
        self._drafts: dict[int, _Draft] = {}
        self._characters = 0
        self._usage: Spend | None = None
        self.model: str | None = None
        self.ended = False

    def add(self, data: bytes) -> None:
        """Take in a body, or the data of one event.

        Raises:
            UnreadableError: it is not JSON of the right shape.
            ServerSaidError: it is an error report.
        """
        try:
            body = from_json(_Body, data)
        except ValueError as error:
            raise UnreadableError(f"what came is no chat completion: {_shape_of(error)}") from None
        if body.error:
            raise _reported(body.error)
        for choice in body.choices or ():
            self._add_choice(choice)
        self._usage = _usage(body.usage) or self._usage
        if isinstance(body.model, str):
            self.model = body.model

    def _add_choice(self, choice: _Choice) -> None:
        draft = self._drafts.setdefault(choice.index, _Draft())
        text = choice.message or choice.delta or _Text()
        # Both names in one piece mean the same thought: servers that change over send it twice.
        thought = text.reasoning or text.reasoning_content
        for piece, pieces in ((text.content, draft.content), (thought, draft.reasoning)):
            if isinstance(piece, str) and piece:
                pieces.append(piece)
                self._characters += len(piece)
        draft.finish_reason = choice.finish_reason or draft.finish_reason

    @property
    def characters(self) -> int:
        """How much text came so far."""
        return self._characters

    @property
    def complete(self) -> bool:
        """Whether the reply is all there: the server said so, for the whole or for every choice."""
        finished = all(draft.finish_reason is not None for draft in self._drafts.values())
        return self.ended or (bool(self._drafts) and finished)

    def completions(self) -> tuple[Completion, ...]:
        """What came, in the order of the choices' indices."""
        return tuple(_completion(self._drafts[index]) for index in sorted(self._drafts))

    def spend(self) -> Spend:
        """What the server counted; what it did not count is estimated from the text that came."""
        if not self._drafts:
            return self._usage or Spend()
        if self._usage is not None and self.complete:
            return self._usage
        counted = self._usage or Spend()
        return Spend(
            max(counted.prompt_tokens, estimated_tokens(self._prompt_characters)),
            counted.cached_tokens,
            counted.written_tokens,
            max(counted.completion_tokens, estimated_tokens(self._characters)),
            estimated=True,
        )


def split_thoughts(text: str) -> tuple[str, str]:
    """Reasoning and content of a text in which the model thinks aloud.

    A chat template may have opened the thought in the prompt: then the text only closes it. A thought that is
    never closed is all there is.
    """
    start = text.lstrip()
    if start.startswith(_OPEN):
        thought, _, rest = start[len(_OPEN) :].partition(_CLOSE)
        return thought, rest
    thought, closed, rest = text.partition(_CLOSE)
    return (thought, rest) if closed else ("", text)


def _completion(draft: _Draft) -> Completion:
    content, reasoning = "".join(draft.content), "".join(draft.reasoning)
    if not reasoning:
        reasoning, content = split_thoughts(content)
    return Completion(content, reasoning, draft.finish_reason)


def _usage(usage: object) -> Spend | None:
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if not isinstance(usage, dict) or prompt is None or completion is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = min(_count(details, "cached_tokens") or 0, prompt)
    written = min(_count(details, "cache_write_tokens") or 0, prompt - cached)
    return Spend(prompt, cached, written, completion)


def _count(holder: object, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if type(value) is int and 0 <= value <= _LARGEST else None


def _reported(error: object) -> ServerSaidError:
    if not isinstance(error, dict):
        return ServerSaidError(str(error), frozenset())
    codes = frozenset(str(error[name]) for name in ("code", "type") if error.get(name))
    return ServerSaidError(str(error.get("message") or error), codes)


def _shape_of(error: ValueError) -> str:
    """The first line of a validation error that says something; the rest repeats the input."""
    lines = str(error).splitlines()
    return " ".join(line.strip() for line in lines[1:3]) if len(lines) > 1 else str(error)
