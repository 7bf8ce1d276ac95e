"""Characters that do not belong in a candidate: copied from a page, escaped for HTML, meant to deceive."""

from __future__ import annotations

import re
import unicodedata

# Spaces that chats and word processors put for a plain one. In code they can only be meant as one.
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2007\u202f", " "))
# What shows nothing, or makes text show in another order than it is compiled in.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0d-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#3[49]|#x2[27]|#6[02]);", re.IGNORECASE)
# Comments and literals of C++. An unclosed one matches too, so that no attempt is made twice.
_QUIET = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|\"(?:\\.|[^\"\\\n])*+\"?|'(?:\\.|[^'\\\n])*+'?", re.DOTALL)
_FOREIGN = re.compile(r"[^\x00-\x7f]")


def with_plain_spaces(text: str) -> str:
    """The text with no-break spaces as spaces."""
    return text.translate(_SPACES)


def unreadable_character(text: str) -> str | None:
    """Why a candidate file is refused for a character in it; None if it is not."""
    unseen = _UNSEEN.search(text)
    if unseen is not None:
        return f"line {_line(text, unseen)} holds the invisible character {_named(unseen[0])}; remove it"
    entity = _ENTITY.search(text)
    if entity is not None:
        return (
            f"line {_line(text, entity)} is escaped for HTML ({entity[0]}); write the characters "
            "themselves: < > & and quotes"
        )
    return None


def foreign_character(device_code: str) -> str | None:
    """Why device code is refused for a character outside of its comments and strings; None if it is not."""
    if device_code.isascii():
        return None
    code = _QUIET.sub(lambda match: "\n" * match[0].count("\n"), device_code)
    for match in _FOREIGN.finditer(code):
        # Letters may be names; the compiler knows which.
        if not match[0].isalnum():
            return (
                f"line {_line(code, match)} of SOURCE holds {_named(match[0])}, which no compiler reads; "
                "write it in ASCII"
            )
    return None


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _named(character: str) -> str:
    name = unicodedata.name(character, "a control character")
    shown = f"{character} " if character.isprintable() else ""
    return f"{shown}(U+{ord(character):04X}, {name})"
