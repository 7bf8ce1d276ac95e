"""What servers and models put around an answer: thoughts, chat markers, XML-like tags, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kforge.search.fences import PLAN, has_fence

_NAMES = "think|thinking|thought|thoughts|reasoning|analysis|reflection|scratchpad|seed:think"
_OPENING = re.compile(
    rf"\s*(?:<(?P<xml>{_NAMES})>|\[(?P<square>THINK)\]|<\|(?P<bars>begin_of_thought)\|>|◁(?P<kimi>think)▷)",
    re.IGNORECASE,
)
_LONE_CLOSE = re.compile(
    rf"^[ \t]*(?:</(?:{_NAMES})>|\[/THINK\]|<\|end_of_thought\|>|◁/think▷)", re.IGNORECASE
)
# OpenAI's open models name a channel per message; only the final one is the answer.
_CHANNEL = re.compile(r"<\|channel\|>[ \t]*(\w{1,20})\b[^<\n]{0,60}<\|message\|>")
_END_MARK = re.compile(r"(?:\s*(?:<\|[\w]{1,40}\|>|</s>|<eos>|<end_of_turn>))+\s*\Z")
_END_CHARS = 400  # a reply ends in a handful of such marks, never in a page of them
_WRAPPERS = (
    "answer",
    "tool_call",
    "final_answer",
    "response",
    "output",
    "candidate",
    "file",
    "code",
    "python",
)
_PARAMETER = re.compile(r"<parameter(?:=| name=\")(?:code|content|file|source|text|new_str|file_text)\"?>")
_EDIT = re.compile(r"^[ \t]*<{5,9}[ \t]*SEARCH\b", re.MULTILINE | re.IGNORECASE)
_MAX_JSON_DEPTH = 6


@dataclass(frozen=True, slots=True)
class UnfinishedThought:
    """The reply ended before its answer began."""

    marker: str


def answer_in(text: str) -> str | UnfinishedThought:
    """The answer without thoughts and wrappers; the text as it is where nothing of the kind is known."""
    body = _final_channel(text)
    if isinstance(body, UnfinishedThought):
        return body
    body = _after_thoughts(body)
    if isinstance(body, UnfinishedThought):
        return body
    body = body[:-_END_CHARS] + _END_MARK.sub("", body[-_END_CHARS:])
    if not has_fence(body.split("\n")):
        body = _unwrapped(body)
    inner = text_in_json(body)
    return body if inner is None else inner


def text_in_json(text: str) -> str | None:
    """The last string of a JSON object that looks like an answer, at any key; None if there is none."""
    found = [string for string in _strings(_loaded(text), 0) if _is_answer(string)]
    return found[-1].replace("\r\n", "\n").replace("\r", "\n") if found else None


def _loaded(text: str) -> object:
    stripped = text.strip()
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return None
    try:
        return json.loads(stripped, strict=False)
    except (ValueError, RecursionError):
        return None


def _strings(value: object, depth: int) -> Iterator[str]:
    if depth > _MAX_JSON_DEPTH:
        return
    match value:
        case str():
            # A tool call's arguments are often JSON once more, as text.
            inner = _loaded(value)
            if inner is None:
                yield value
            else:
                yield from _strings(inner, depth + 1)
        case dict():
            for each in value.values():
                yield from _strings(each, depth + 1)
        case list():
            for each in value:
                yield from _strings(each, depth + 1)


def _is_answer(text: str) -> bool:
    return PLAN.search(text) is not None or _EDIT.search(text) is not None


def _final_channel(text: str) -> str | UnfinishedThought:
    names = list(_CHANNEL.finditer(text))
    if not names or not text.lstrip().startswith(("<|channel|>", "<|start|>")):
        return text
    final = [match for match in names if match[1] == "final"]
    return text[final[-1].end() :] if final else UnfinishedThought(f"channel {names[-1][1][:40]}")


def _after_thoughts(text: str) -> str | UnfinishedThought:
    """The text behind leading thoughts.

    Only thoughts before the answer are dropped: the same tag further down is part of the answer. A closing
    tag without an opening one is what servers leave whose template opened it in the prompt.
    """
    at = 0
    while (opening := _OPENING.match(text, at)) is not None:
        closing = re.compile(re.escape(_closing(opening)), re.IGNORECASE).search(text, opening.end())
        if closing is None:
            return UnfinishedThought(opening[0].strip())
        at = closing.end()
    if at == 0:
        at = _lone_close(text)
    return text[at:]


def _closing(opening: re.Match[str]) -> str:
    if opening["xml"]:
        return f"</{opening['xml']}>"
    if opening["square"]:
        return "[/THINK]"
    return "<|end_of_thought|>" if opening["bars"] else "◁/think▷"


def _lone_close(text: str) -> int:
    """Where the answer begins if a thought was opened in the prompt; 0 if there is no sign of one."""
    first = re.search(rf"</(?:{_NAMES})>", text, re.IGNORECASE)
    if first is None:
        return 0
    before = text[: first.start()]
    if not has_fence(before.split("\n")):
        return first.end()
    # Drafts in fences came before it: believed only on a line of its own, where code never has it.
    line_start = before.rfind("\n") + 1
    line_end = text.find("\n", first.end())
    rest = text[first.end() : line_end if line_end >= 0 else len(text)]
    alone = _LONE_CLOSE.match(text[line_start : first.end()]) is not None and not rest.strip()
    return first.end() if alone else 0


def _unwrapped(text: str) -> str:
    """The content of the last complete pair of wrapper tags that holds an answer; else the text itself."""
    for opening, closing in _wrappers(text):
        close = text.rfind(closing)
        start = text.rfind(opening, 0, close) if close >= 0 else -1
        inner = text[start + len(opening) : close].removeprefix("\n")
        if start >= 0 and (_is_answer(inner) or text_in_json(inner) is not None):
            return inner
    return text


def _wrappers(text: str) -> Iterator[tuple[str, str]]:
    parameters = _PARAMETER.findall(text)
    if parameters:
        yield parameters[-1], "</parameter>"
    for name in _WRAPPERS:
        yield f"<{name}>", f"</{name}>"
