"""Fenced blocks of a reply, as CommonMark reads them and as models really write them.

Any indentation is allowed, tags may be glued to a fence (``<answer>```python``, `````</answer>``), and a
fence around other fences (a markdown block, an opening fence written twice) is looked through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["python", "device", "other"]

PLAN = re.compile(r"^def[ \t]+plan[ \t]*\(", re.MULTILINE)
SOURCE = re.compile(r"^SOURCE[ \t]*[:=]", re.MULTILINE)
_DEVICE_CODE = re.compile(r"SYCL_EXT_ONEAPI_FUNCTION_PROPERTY|__global__|^[ \t]*#[ \t]*include", re.MULTILINE)
_PYTHON_TAGS = frozenset({"python", "py", "python3"})
_DEVICE_TAGS = frozenset({"sycl", "cpp", "c++", "cxx", "cc", "c", "cuda", "cu"})
_WRAPPER_TAGS = frozenset({"markdown", "md"})
_FENCE = re.compile(r"^((?:[ \t]*<[^<>`\s]{1,40}>)*[ \t]*)(`{3,}|~{3,})([^\n]*)$")
_NOTHING_BUT_TAGS = re.compile(r"(?:[ \t]*<[^<>`\s]{1,40}>)*[ \t]*$")
# The word that names a language: "python", "{.python}", "Python title=..", "python:candidate.py".
_LANGUAGE_WORD = re.compile(r"[{.\s]*([A-Za-z0-9_+#-]*)(?:\.(\w+))?")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        tag: the language word of its opening fence, in lower case; empty if there is none.
        text: its lines, without the indentation of the opening fence.
        closed: whether a closing fence was found.
        start: line of the opening fence, from 0.
        stop: line after the closing fence.
        kind: what it holds, by its tag and else by its text.
        has_plan: whether it defines ``plan``.
        has_source: whether it defines ``SOURCE``.
    """

    tag: str
    text: str
    closed: bool
    start: int
    stop: int
    kind: BlockKind
    has_plan: bool
    has_source: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is a complete block with both parts of a candidate file."""
        return self.closed and self.has_plan and self.has_source


@dataclass(frozen=True, slots=True)
class _Fence:
    indent: str
    mark: str
    info: str

    def closes(self, opening: _Fence) -> bool:
        # More than three columns deeper is text of the block: a fence inside a docstring, for example.
        near = len(self.indent.expandtabs(4)) <= len(opening.indent.expandtabs(4)) + 3
        return self.is_bare and near and self.mark.startswith(opening.mark)

    @property
    def is_bare(self) -> bool:
        return _NOTHING_BUT_TAGS.match(self.info) is not None


def read_blocks(lines: Sequence[str]) -> list[Block]:
    """The fenced blocks of a text, in one pass over its lines; the last one may be unclosed."""
    blocks: list[Block] = []
    wrappers: list[_Fence] = []
    opening: _Fence | None = None
    start, content = 0, list[str]()
    for number, line in enumerate(lines):
        fence = _fence(line)
        if opening is None:
            if fence is None:
                continue
            if wrappers and fence.closes(wrappers[-1]):
                wrappers.pop()
            elif _tag(fence.info) in _WRAPPER_TAGS:
                wrappers.append(fence)
            elif "`" not in fence.info or fence.mark[0] == "~":
                opening, start, content = fence, number, []
        elif fence is not None and fence.closes(opening):
            blocks.append(_block(opening, content, start, number + 1, closed=True))
            opening = None
        elif fence is not None and _tag(fence.info) and not any(content):
            # A fence whose first line opens another one only wraps it.
            wrappers.append(opening)
            opening, start, content = fence, number, []
        else:
            content.append(_dedent(line, opening.indent) if line.strip() else "")
    if opening is not None:
        blocks.append(_block(opening, content, start, len(lines), closed=False))
    return blocks


def outer_blocks(lines: Sequence[str]) -> list[str]:
    """The texts from the last, and from the first, python fence to the last closing fence of the reply.

    For a file whose own strings hold fences: read as CommonMark it ends at the first of them.
    """
    fences = [(number, fence) for number, line in enumerate(lines) if (fence := _fence(line)) is not None]
    openings = [each for each in fences if _tag(each[1].info) in _PYTHON_TAGS]
    ends = [number for number, fence in fences if fence.is_bare]
    texts: list[str] = []
    for start, opening in (openings[-1:] + openings[:1])[: len(openings)]:
        if ends and ends[-1] > start:
            inside = (_dedent(line, opening.indent) for line in lines[start + 1 : ends[-1]])
            texts.append("\n".join(inside) + "\n")
    return texts


def has_fence(lines: Sequence[str]) -> bool:
    """Whether any line is a fence."""
    return any(_fence(line) is not None for line in lines)


def _fence(line: str) -> _Fence | None:
    if "```" not in line and "~~~" not in line:
        return None
    match = _FENCE.match(line)
    if match is None:
        return None
    return _Fence("" if match[1].strip() else match[1], match[2], match[3])


def _tag(info: str) -> str:
    if not info:
        return ""
    match = _LANGUAGE_WORD.match(info[:200])
    if match is None:
        return ""
    word, suffix = match[1].lower(), (match[2] or "").lower()
    return suffix if suffix in _PYTHON_TAGS | _DEVICE_TAGS else word


def _block(opening: _Fence, content: list[str], start: int, stop: int, *, closed: bool) -> Block:
    text = "\n".join(content) + "\n"
    tag = _tag(opening.info)
    has_plan, has_source = PLAN.search(text) is not None, SOURCE.search(text) is not None
    return Block(tag, text, closed, start, stop, _kind(tag, text, has_plan, has_source), has_plan, has_source)


def _kind(tag: str, text: str, has_plan: bool, has_source: bool) -> BlockKind:
    # Both parts make it a candidate file whatever its tag says: "sycl" is what the file is about.
    if tag in _PYTHON_TAGS or (has_plan and (has_source or not tag)):
        return "python"
    if tag in _DEVICE_TAGS or (not tag and _DEVICE_CODE.search(text)):
        return "device"
    return "other"


def _dedent(line: str, indent: str) -> str:
    """Take off as much of the fence's own indentation as the line has."""
    if not indent:
        return line
    if line.startswith(indent):
        return line[len(indent) :]
    return line.lstrip(" \t")
