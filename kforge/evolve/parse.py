"""From a proposer's reply to a candidate file. The reply is hostile text until it has passed here.

Accepted, in this order: a python fence that holds the whole file; a python fence plus a fence with the
device code; the bare file. Prose around fences is ignored, and the last complete fence of a kind wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kforge.types import CandidateSource, ParseFailed

MAX_REPLY_BYTES = 1_000_000

ParseCandidate = Callable[[str], CandidateSource | ParseFailed]
BlockKind = Literal["python", "device", "other"]

_PYTHON_TAGS = frozenset({"python", "py", "python3"})
_DEVICE_TAGS = frozenset({"sycl", "cpp", "c++", "cxx", "cc", "c", "cuda", "cu"})
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)$")
_PLAN = re.compile(r"^def[ \t]+plan[ \t]*\(", re.MULTILINE)
_SOURCE = re.compile(r"^SOURCE[ \t]*[:=]", re.MULTILINE)
_LANGUAGE = re.compile(r"^LANGUAGE[ \t]*[:=]", re.MULTILINE)
_DEVICE_CODE = re.compile(r"SYCL_EXT_ONEAPI_FUNCTION_PROPERTY|__global__|^[ \t]*#[ \t]*include", re.MULTILINE)
_EXPECTED = "answer with one ```python block that holds the whole candidate file (LANGUAGE, SOURCE, plan)"


@dataclass(frozen=True, slots=True)
class _Block:
    tag: str
    text: str
    closed: bool

    @property
    def kind(self) -> BlockKind:
        if self.tag in _PYTHON_TAGS:
            return "python"
        if self.tag in _DEVICE_TAGS:
            return "device"
        if self.tag:
            return "other"
        if _PLAN.search(self.text):
            return "python"
        return "device" if _DEVICE_CODE.search(self.text) else "other"


def parse_reply(text: str, parse_candidate: ParseCandidate) -> CandidateSource | ParseFailed:
    """Find the candidate in a reply and parse it.

    Args:
        text: the reply as the proposer gave it.
        parse_candidate: reads one candidate file; its reason is passed on with what was read.

    Returns:
        The candidate, or ``ParseFailed`` with a reason that the proposer can act on.
    """
    problem = _unreadable(text)
    if problem is not None:
        return ParseFailed(problem)
    body = _without_thoughts(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    if body is None:
        return ParseFailed(f"the reply was truncated inside <think>: no answer follows it; {_EXPECTED}")
    if not body.strip():
        return ParseFailed(f"the reply is empty; {_EXPECTED}")
    blocks = _blocks(body)
    found = _assemble(blocks) if blocks else _bare(body)
    if isinstance(found, ParseFailed):
        return found
    understood, candidate_text = found
    result = parse_candidate(candidate_text)
    if isinstance(result, ParseFailed):
        return ParseFailed(f"read {understood}: {result.reason}")
    return result


def storable(text: str) -> str:
    """``text`` as a database can hold it: no NUL, no lone surrogates, not longer than a reply may be."""
    if len(text) > MAX_REPLY_BYTES:
        text = text[:MAX_REPLY_BYTES] + f"\n[kforge: cut here; the text had {len(text)} characters]"
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _unreadable(text: str) -> str | None:
    """Why the text is not even looked at; None when it is."""
    if len(text) > MAX_REPLY_BYTES:
        return f"the reply has {len(text)} characters; the limit is {MAX_REPLY_BYTES} bytes"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        return f"the reply is not valid Unicode: lone surrogate at character {error.start}"
    if size > MAX_REPLY_BYTES:
        return f"the reply has {size} bytes; the limit is {MAX_REPLY_BYTES}"
    if "\x00" in text:
        return f"the reply holds a NUL character at position {text.index(chr(0))}"
    return None


def _without_thoughts(text: str) -> str | None:
    """The text without leading ``<think>`` blocks; None when the reply ends inside one.

    Only thoughts before the answer are stripped: the same tag further down is part of the answer. A
    ``</think>`` without its opening tag is what servers leave whose template opened it in the prompt.
    """
    first_close = text.find("</think>")
    first_fence = _first_fence(text)
    if (
        first_close >= 0
        and "<think>" not in text[:first_close]
        and (first_fence < 0 or first_close < first_fence)
    ):
        text = text[first_close + len("</think>") :]
    while text.lstrip().startswith("<think>"):
        close = text.find("</think>")
        if close < 0:
            return None
        text = text[close + len("</think>") :]
    return text


def _first_fence(text: str) -> int:
    match = re.search(r"^[ \t]*(?:`{3,}|~{3,})", text, re.MULTILINE)
    return -1 if match is None else match.start()


def _blocks(text: str) -> list[_Block]:
    """Fenced blocks as CommonMark reads them, any indentation allowed, in one pass over the lines."""
    blocks: list[_Block] = []
    fence = indent = tag = ""
    lines: list[str] | None = None
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if lines is None:
            if match is not None and not (match[2][0] == "`" and "`" in match[3]):
                indent, fence, tag, lines = match[1], match[2], _tag(match[3]), []
        elif match and match[2][0] == fence[0] and len(match[2]) >= len(fence) and not match[3].strip():
            blocks.append(_Block(tag, "\n".join(lines) + "\n", closed=True))
            lines = None
        else:
            lines.append(_dedent(line, indent))
    if lines is not None:
        blocks.append(_Block(tag, "\n".join(lines) + "\n", closed=False))
    return blocks


def _tag(info: str) -> str:
    words = info.strip().lstrip("{.").split(maxsplit=1)
    return words[0].rstrip("}").lower() if words else ""


def _dedent(line: str, indent: str) -> str:
    """Take off as much of the fence's own indentation as the line has."""
    if not indent:
        return line
    if line.startswith(indent):
        return line[len(indent) :]
    return line.lstrip(" \t")


def _assemble(blocks: list[_Block]) -> tuple[str, str] | ParseFailed:
    """Choose among the blocks: (what was understood, candidate file), or why there is none."""
    complete = [block for block in blocks if block.closed]
    python = [block for block in complete if block.kind == "python"]
    device = [block for block in complete if block.kind == "device"]
    whole = [block for block in python if _PLAN.search(block.text) and _SOURCE.search(block.text)]
    plans = [block for block in python if _PLAN.search(block.text)]
    # A whole file that comes after the last plan-only block is the newest answer, and the other way round.
    if whole and whole[-1] is plans[-1]:
        return f"python block {python.index(whole[-1]) + 1} of {len(python)} as the candidate file", whole[
            -1
        ].text
    if plans and device:
        return (
            f"the last python block as the plan and the last {device[-1].tag or 'untagged'} block as SOURCE",
            (_insert_source(plans[-1].text, device[-1])),
        )
    if whole:
        return "the last python block that holds both SOURCE and plan", whole[-1].text
    if not blocks[-1].closed:
        return ParseFailed(
            f"the reply was truncated: its last block (```{blocks[-1].tag}) is never closed; "
            "write a shorter answer and close the fence"
        )
    if plans:
        return ParseFailed(
            f"the python block has a plan but no SOURCE, and no device code block was found; {_EXPECTED}"
        )
    if python:
        return f"python block {len(python)} of {len(python)} as the candidate file", python[-1].text
    if device:
        return ParseFailed(f"found device code but no python block that defines plan(k, ...); {_EXPECTED}")
    tags = ", ".join(sorted({block.tag or "untagged" for block in blocks})[:8])
    return ParseFailed(f"found {len(blocks)} fenced block(s) ({tags[:200]}) but no candidate; {_EXPECTED}")


def _bare(text: str) -> tuple[str, str] | ParseFailed:
    if _PLAN.search(text) and _SOURCE.search(text):
        return "the whole reply as the candidate file (it has no fences)", text.lstrip("\n")
    return ParseFailed(f"the reply has no fenced code block and is not itself a candidate file; {_EXPECTED}")


def _insert_source(plan_text: str, device: _Block) -> str:
    """Put the device code in front of the plan as the literal ``SOURCE``."""
    lines = []
    if not _LANGUAGE.search(plan_text):
        cuda = device.tag in {"cuda", "cu"} or "__global__" in device.text
        lines.append(f'LANGUAGE = "{"cuda" if cuda else "sycl"}"\n')
    lines.append(f"SOURCE = {_literal(device.text)}\n")
    return "".join(lines) + "\n" + plan_text


def _literal(code: str) -> str:
    """A Python literal of the code: raw where a quote is free, so that a reader sees the code as it is."""
    # The code ends with a newline, so neither a quote nor a backslash can touch the closing quotes.
    for quote in ("'''", '"""'):
        if quote not in code:
            return f"r{quote}\n{code}{quote}"
    return repr(code)
