"""Device code as preprocessor tokens: lines spliced, comments gone, strings kept apart.

What is screened must be what the compiler sees, so everything that two readers could split differently
(raw strings, trigraphs, unterminated literals) is refused instead of guessed.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

TokenKind = Literal["name", "number", "text", "char", "mark"]
_SPLICE = re.compile(r"\\[ \t\v\f]*\n")
_TOKEN = re.compile(
    r"""
    (?P<newline>\n)
  | (?P<space>[ \t\v\f]+)
  | (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<raw>(?:u8|u|U|L)?R")
  | (?P<number>\.?[0-9](?:[eEpP][+-]|'[0-9a-zA-Z_]|[0-9a-zA-Z_.])*)
  | (?P<text>(?:u8|u|U|L)?"(?:\\.|[^"\\\n])*")
  | (?P<char>(?:u8|u|U|L)?'(?:\\.|[^'\\\n])+')
  | (?P<name>[A-Za-z_$\u0080-\U0010ffff][\w$]*)
  | (?P<mark>%:%:|%:|\#\#|::|\[\[|\]\]|[^\w\s])
    """,
    re.VERBOSE | re.DOTALL,
)


class Unreadable(Exception):
    """The text cannot be split into tokens safely; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Token:
    """One preprocessor token; ``line`` counts from 1 in the text as written."""

    kind: TokenKind
    text: str
    line: int


def tokenize(code: str) -> list[list[Token]]:
    """Split device code into logical lines of tokens; empty lines are left out.

    Raises:
        Unreadable: the text holds something that could be read in two ways.
    """
    if "\0" in code:
        raise Unreadable("the device code holds a NUL character")
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    if "??" in code and (found := re.search(r"\?\?[=/'()!<>-]", code)):
        raise Unreadable(f"line {code.count(chr(10), 0, found.start()) + 1}: trigraph {found.group()}")
    spliced, line_of = _splice(code)
    lines: list[list[Token]] = [[]]
    position = 0
    while position < len(spliced):
        match = _TOKEN.match(spliced, position)
        line = line_of(position)
        if match is None:
            raise Unreadable(f"line {line}: character {spliced[position]!r} is not C++")
        kind, text = match.lastgroup, match.group()
        position = match.end()
        if kind == "raw":
            raise Unreadable(f"line {line}: raw string literals are not accepted in device code")
        if kind == "newline":
            lines.append([])
        elif kind not in ("space", "comment"):
            _refuse_partial(text, spliced, position, line)
            lines[-1].append(Token(kind, text, line))  # type: ignore[arg-type]  # the group names
    return [line for line in lines if line]


def _refuse_partial(text: str, spliced: str, end: int, line: int) -> None:
    if text in ('"', "'"):
        raise Unreadable(f"line {line}: a {text} is never closed on its line")
    if text == "\\":
        raise Unreadable(f"line {line}: a backslash outside a literal")
    if text == "/" and spliced.startswith("*", end):
        raise Unreadable(f"line {line}: a comment is never closed")


def _splice(code: str) -> tuple[str, Callable[[int], int]]:
    """The text without line splices, and the line as written for a position in it."""
    parts: list[str] = []
    joints: list[int] = []
    begin = length = 0
    for found in _SPLICE.finditer(code):
        parts.append(code[begin : found.start()])
        length += found.start() - begin
        joints.append(length)
        begin = found.end()
    parts.append(code[begin:])
    text = "".join(parts)
    breaks = [found.start() for found in re.finditer("\n", text)]

    def line_of(position: int) -> int:
        return 1 + bisect.bisect_left(breaks, position) + bisect.bisect_right(joints, position)

    return text, line_of
