"""From a proposer's reply to a candidate file. The reply is hostile text until it has passed here.

A reply answers in one of four forms: a fenced block with the whole file; search/replace blocks against the
parent; a python fence plus a fence with the device code; the bare file. Prose is ignored. The last complete
block of a kind wins, a whole file after the last edit wins over edits, and edits win over the other forms.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from kforge.search.characters import foreign_character, unreadable_character, with_plain_spaces
from kforge.search.edits import BrokenEdit, Edit, apply_edits, find_edits
from kforge.search.envelope import UnfinishedThought, answer_in, text_in_json
from kforge.search.fences import PLAN, SOURCE, Block, outer_blocks, read_blocks
from kforge.types import CandidateSource, ParseFailed

MAX_REPLY_BYTES = 1_000_000

ParseCandidate = Callable[[str], CandidateSource | ParseFailed]

_LANGUAGE = re.compile(r"^LANGUAGE[ \t]*[:=]", re.MULTILINE)
_DIFF = re.compile(r"^(?:diff --git |@@ -\d{1,9}(?:,\d{1,9})? \+\d)", re.MULTILINE)
_AT_LINE = re.compile(r"line (\d{1,9}): ")
# No backticks here: where a prompt quotes a reason, they are replaced.
_EXPECTED = "answer with one fenced python block that holds the whole candidate file (LANGUAGE, SOURCE, plan)"


@dataclass(frozen=True, slots=True)
class _Found:
    """Text that should be a candidate file.

    Attributes:
        understood: which part of the reply was read, in words.
        whole_until: line after the block, if one block of the reply is the whole file; else None.
    """

    understood: str
    text: str
    whole_until: int | None = None


def parse_reply(
    text: str, parse_candidate: ParseCandidate, parent: str | None = None
) -> CandidateSource | ParseFailed:
    """Find the candidate in a reply and parse it.

    Args:
        text: the reply as the proposer gave it.
        parse_candidate: reads one candidate file; its reason is passed on with what was read.
        parent: the file that search/replace blocks change; None where the prompt showed none.

    Returns:
        The candidate, or ``ParseFailed`` with a reason that the proposer can act on.
    """
    problem = _unreadable(text)
    if problem is not None:
        return ParseFailed(problem)
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    body = answer_in(with_plain_spaces(plain))
    if isinstance(body, UnfinishedThought):
        return ParseFailed(
            f"the reply was truncated inside {body.marker}, before its answer; think less, then {_EXPECTED}"
        )
    if not body.strip():
        return ParseFailed(f"the reply is empty; {_EXPECTED}")
    lines = body.split("\n")
    found = _find(lines, parent)
    result = found if isinstance(found, ParseFailed) else _judged(found, parse_candidate)
    if isinstance(result, ParseFailed):
        return _across_fences(lines, parse_candidate) or result
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


# ------------------------------------------------------------------------------------- which form is meant


def _find(lines: Sequence[str], parent: str | None) -> _Found | ParseFailed:
    """The text of the candidate in the form that counts, or why there is none."""
    edits = find_edits(lines)
    if not edits:
        blocks = read_blocks(lines)
        return _assemble(blocks) if blocks else _bare("\n".join(lines))
    whole = _last_whole(lines, edits)
    later = edits if whole is None else [edit for edit in edits if edit.start >= (whole.whole_until or 0)]
    broken = any(isinstance(edit, BrokenEdit) for edit in later)
    if whole is not None and (broken or not later):
        return whole
    return _edited(later, parent)


def _last_whole(lines: Sequence[str], edits: Sequence[Edit | BrokenEdit]) -> _Found | None:
    """The last block that holds a whole file, among those that are not part of an edit."""
    masked = list(lines)
    is_edit = [0] * len(lines)
    for edit in edits:
        if isinstance(edit, Edit):
            for at in range(edit.start, edit.stop):
                masked[at], is_edit[at] = "", 1
    before = list(accumulate(is_edit, initial=0))
    free = [block for block in read_blocks(masked) if before[block.stop] == before[block.start]]
    whole = [block for block in free if block.kind == "python" and block.is_whole]
    return _as_whole(whole[-1], free) if whole else None


def _edited(edits: Sequence[Edit | BrokenEdit], parent: str | None) -> _Found | ParseFailed:
    if parent is None:
        return ParseFailed(
            f"the reply holds search/replace blocks, but there is no parent to change here; {_EXPECTED}"
        )
    edited = apply_edits(parent, edits)
    if isinstance(edited, ParseFailed):
        return edited
    return _Found(f"the parent with {len(edits)} search/replace block(s) applied", edited)


def _assemble(blocks: Sequence[Block]) -> _Found | ParseFailed:
    """Choose among the blocks: the candidate file, or why there is none."""
    complete = [block for block in blocks if block.closed]
    python = [block for block in complete if block.kind == "python"]
    device = [block for block in complete if block.kind == "device"]
    plans = [block for block in python if block.has_plan]
    whole = [block for block in plans if block.has_source]
    sources = [block for block in python if block.has_source and not block.has_plan]
    # A whole file that comes after the last plan-only block is the newest answer, and the other way round.
    if whole and whole[-1] is plans[-1]:
        return _as_whole(whole[-1], blocks)
    if plans and device:
        return _Found(
            f"the last python block as the plan and the last {device[-1].tag or 'untagged'} block as SOURCE",
            _insert_source(plans[-1].text, device[-1]),
        )
    if whole:
        return _as_whole(whole[-1], blocks)
    if plans and sources:
        return _Found(
            "the last python blocks with SOURCE and with plan as the candidate file",
            sources[-1].text + "\n\n" + plans[-1].text,
        )
    if not blocks[-1].closed:
        return ParseFailed(_truncated(blocks[-1]))
    return _nothing_whole(blocks, python, device)


def _as_whole(block: Block, blocks: Sequence[Block]) -> _Found:
    python = [each for each in blocks if each.closed and each.kind == "python"]
    what = f"python block {python.index(block) + 1} of {len(python)} as the candidate file"
    return _Found(what, block.text, block.stop)


def _nothing_whole(
    blocks: Sequence[Block], python: Sequence[Block], device: Sequence[Block]
) -> _Found | ParseFailed:
    """What closed blocks mean that make no candidate file together."""
    if any(block.has_plan for block in python):
        return ParseFailed(
            f"the python block has a plan but no SOURCE, and no device code block was found; {_EXPECTED}"
        )
    if any(_DIFF.search(block.text) for block in blocks):
        return ParseFailed(_NO_DIFF)
    if python:
        return _Found(f"python block {len(python)} of {len(python)} as the candidate file", python[-1].text)
    if device:
        return ParseFailed(f"found device code but no python block that defines plan(k, ...); {_EXPECTED}")
    inner = text_in_json(blocks[-1].text)
    if inner is not None:
        return _find_in_json(inner)
    tags = ", ".join(sorted({block.tag or "untagged" for block in blocks})[:8])
    return ParseFailed(f"found {len(blocks)} fenced block(s) ({tags[:200]}) but no candidate; {_EXPECTED}")


def _find_in_json(text: str) -> _Found | ParseFailed:
    blocks = read_blocks(text.split("\n"))
    return _bare(text) if not blocks or blocks[-1].kind == "other" else _assemble(blocks)


def _bare(text: str) -> _Found | ParseFailed:
    if _DIFF.search(text):
        return ParseFailed(_NO_DIFF)
    if PLAN.search(text) and SOURCE.search(text):
        return _Found("the whole reply as the candidate file (it has no fences)", text.lstrip("\n"))
    why = "the reply has no fenced code block and is not itself a candidate file"
    if "&lt;" in text:
        why += " (it is escaped for HTML: write < > & themselves)"
    return ParseFailed(f"{why}; {_EXPECTED}")


_NO_DIFF = (
    "the reply is a unified diff, which is not applied; answer with the whole candidate file in one "
    "fenced python block, or, where there is a parent, with search/replace blocks (<<<<<<< SEARCH, =======, "
    ">>>>>>> REPLACE)"
)


def _truncated(block: Block) -> str:
    lines = [line.strip() for line in block.text.split("\n")[-100:] if line.strip()]
    if lines and lines[-1].endswith("```") and lines[-1].strip("`"):
        return "the last block is not closed: its closing fence must stand on a line of its own"
    why = f"the reply was truncated: its last block ({block.tag[:40] or 'untagged'}) is never closed"
    if len(lines) >= 20:
        line, count = Counter(lines).most_common(1)[0]
        if 2 * count >= len(lines) and len(line) > 3:
            why += f" and repeats {line[:80]!r} at its end"
    return why + "; write a shorter answer and close the fence"


# ------------------------------------------------------------------------------------- what was found is read


def _judged(found: _Found, parse_candidate: ParseCandidate) -> CandidateSource | ParseFailed:
    problem = unreadable_character(found.text)
    if problem is not None:
        return ParseFailed(f"read {found.understood}: {problem}")
    result = parse_candidate(found.text)
    if isinstance(result, ParseFailed):
        return ParseFailed(f"read {found.understood}: {result.reason}{_line_in(result.reason, found.text)}")
    problem = foreign_character(result.device_code)
    if problem is not None:
        return ParseFailed(f"read {found.understood}: {problem}")
    return result


def _line_in(reason: str, text: str) -> str:
    """The line that a reason names, in words: nobody else has the text that it counts in."""
    at = _AT_LINE.match(reason)
    lines = text.split("\n")
    if at is None or not 1 <= int(at[1]) <= len(lines):
        return ""
    return f" (the line is {lines[int(at[1]) - 1][:120]!r})"


def _across_fences(lines: Sequence[str], parse_candidate: ParseCandidate) -> CandidateSource | None:
    """A file whose own docstrings or comments hold fences: from its opening fence to the reply's last one.

    It counts only if all of it is one candidate: outside of a string a fence is no Python.
    """
    for text in outer_blocks(lines):
        if PLAN.search(text) and SOURCE.search(text):
            result = _judged(_Found("the block up to the last fence", text), parse_candidate)
            if isinstance(result, CandidateSource):
                return result
    return None


def _insert_source(plan_text: str, device: Block) -> str:
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
