"""Search/replace blocks: the short way to change a parent.

    <<<<<<< SEARCH
    lines of the parent
    =======
    the lines that take their place
    >>>>>>> REPLACE

Blocks are applied in order, each to what the ones before it left. A search text counts in whole lines and
must be there exactly once: letter by letter, or else but for white space at the ends of lines, or else but
for one common difference of indentation. Nothing else is guessed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from kforge.types import ParseFailed

MAX_EDITS = 100
_OPEN = re.compile(r"[ \t]*<{5,9}[ \t]*SEARCH\b[^\n]{0,80}$", re.IGNORECASE)
_DIVIDE = re.compile(r"[ \t]*={5,9}[ \t]*$")
_CLOSE = re.compile(r"[ \t]*>{5,9}[ \t]*REPLACE\b[^\n]{0,80}$", re.IGNORECASE)
_WORD = re.compile(r"\w+")
# Looked at when a search text differs by indentation only, or when the nearest lines are named.
_MAX_LOOKALIKES = 8
_MAX_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Edit:
    """One block: whole lines to find and whole lines to put there, at [start, stop) of the reply's lines."""

    search: tuple[str, ...]
    replace: tuple[str, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class BrokenEdit:
    """A block that cannot be read, and why."""

    reason: str
    start: int


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    replace: tuple[str, ...]


def find_edits(lines: Sequence[str]) -> tuple[Edit | BrokenEdit, ...]:
    """The blocks of a reply in order, in one pass over its lines."""
    found: list[Edit | BrokenEdit] = []
    start: int | None = None
    dividers: list[int] = []
    for number, line in enumerate(lines):
        if _OPEN.match(line):
            if start is not None:
                found.append(_unclosed(start))
            start, dividers = number, []
        elif start is not None and _DIVIDE.match(line):
            dividers.append(number)
        elif start is not None and _CLOSE.match(line):
            found.append(_edit(lines, start, dividers, number))
            start = None
    if start is not None:
        found.append(_unclosed(start))
    return tuple(found)


def apply_edits(parent: str, edits: Sequence[Edit | BrokenEdit]) -> str | ParseFailed:
    """The parent after the edits, or why there is no such text, with the number of the block."""
    if len(edits) > MAX_EDITS:
        return ParseFailed(f"the reply has {len(edits)} search/replace blocks; the limit is {MAX_EDITS}")
    original = parent.replace("\r\n", "\n").replace("\r", "\n")
    lines = original.split("\n")
    for number, edit in enumerate(edits, start=1):
        name = f"search/replace block {number} of {len(edits)}"
        if isinstance(edit, BrokenEdit):
            return ParseFailed(f"{name} {edit.reason}")
        if not any(line.strip() for line in edit.search):
            return ParseFailed(
                f"{name} has an empty SEARCH part; to add lines, search for the line before them and repeat "
                "it in the REPLACE part"
            )
        places = _places(lines, edit)
        if not places:
            return ParseFailed(f"{name}: {_why_missing(lines, original, edit)}")
        if len(places) > 1:
            first, second = places[0].start + 1, places[1].start + 1
            return ParseFailed(
                f"{name}: its SEARCH text is in the parent more than once (at lines {first} and {second}); "
                "add the lines around it until it is unique"
            )
        lines[places[0].start : places[0].start + len(edit.search)] = places[0].replace
    edited = "\n".join(lines)
    if edited == original:
        return ParseFailed(
            "the search/replace blocks leave the parent as it is; change something, or answer with the whole "
            "file"
        )
    return edited


def _unclosed(start: int) -> BrokenEdit:
    return BrokenEdit("is truncated: no line >>>>>>> REPLACE closes it", start)


def _edit(lines: Sequence[str], start: int, dividers: list[int], stop: int) -> Edit | BrokenEdit:
    # A row of "=" may also be text (a heading's underline); the divider has seven.
    exact = dividers if len(dividers) == 1 else [at for at in dividers if lines[at].strip() == "======="]
    if not dividers:
        return BrokenEdit("has no line ======= between its SEARCH and its REPLACE part", start)
    if len(exact) != 1:
        return BrokenEdit(f"has {len(dividers)} lines of ===; exactly one ======= divides its parts", start)
    return Edit(tuple(lines[start + 1 : exact[0]]), tuple(lines[exact[0] + 1 : stop]), start, stop + 1)


def _places(lines: Sequence[str], edit: Edit) -> list[_Place]:
    """Where the edit fits (two places at most are named), by the strictest reading that fits anywhere."""
    readings: tuple[Callable[[str], str], ...] = (str, str.rstrip)
    for reading in readings:
        starts = _occurrences([*map(reading, lines)], [*map(reading, edit.search)], 2)
        if starts:
            return [_Place(start, edit.replace) for start in starts]
    starts = _occurrences([*map(str.strip, lines)], [*map(str.strip, edit.search)], _MAX_LOOKALIKES)
    shifted = (_shifted(lines, edit, start) for start in starts)
    return list(islice((place for place in shifted if place is not None), 2))


def _occurrences(lines: Sequence[str], wanted: Sequence[str], limit: int) -> list[int]:
    """The first line numbers at which the wanted lines stand; linear, as ``str.find`` is."""
    text = "\n" + "\n".join(lines) + "\n"
    needle = "\n" + "\n".join(wanted) + "\n"
    found: list[int] = []
    line = counted = 0
    at = text.find(needle)
    while at >= 0 and len(found) < limit:
        line += text.count("\n", counted, at)
        counted = at
        found.append(line)
        at = text.find(needle, at + 1)
    return found


def _shifted(lines: Sequence[str], edit: Edit, start: int) -> _Place | None:
    """The place if all lines there differ from the search by the same indentation; None if they do not."""
    pairs = [
        (_indent(lines[start + offset]), _indent(line))
        for offset, line in enumerate(edit.search)
        if line.strip()
    ]
    there, here = pairs[0]
    if len(there) >= len(here):
        more = there.removesuffix(here)
        if all(there == more + here for there, here in pairs):
            return _Place(start, tuple(more + line if line.strip() else line for line in edit.replace))
        return None
    less = here.removesuffix(there)
    fits = all(here == less + there for there, here in pairs)
    if not fits or not all(line.startswith(less) for line in edit.replace if line.strip()):
        return None
    return _Place(start, tuple(line.removeprefix(less) for line in edit.replace))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


# ------------------------------------------------------------------------------------ words for the proposer


def _why_missing(lines: Sequence[str], original: str, edit: Edit) -> str:
    if _occurrences(original.split("\n"), edit.search, 1):
        return "an earlier block changed the lines that its SEARCH text names; merge the two blocks"
    offset = _likely_offset(lines, edit.search)
    if offset is None:
        return f"its SEARCH text is not in the parent; {_most_alike(lines, edit.search)}"
    for number, line in enumerate(edit.search):
        at = number + offset
        there = lines[at] if 0 <= at < len(lines) else None
        if there is None or there.rstrip() != line.rstrip():
            has = "ends" if there is None else f"has {_quoted(there)} at line {at + 1}"
            return (
                f"its SEARCH text is not in the parent; line {number + 1} of it is {_quoted(line)}, "
                f"where the parent {has}"
            )
    return "its SEARCH text is not in the parent; copy the lines exactly, indentation included"


def _likely_offset(lines: Sequence[str], search: Sequence[str]) -> int | None:
    """Where most lines of the search stand in the parent, as an offset of line numbers."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, line in enumerate(lines):
        known = places[line.strip()]
        if len(known) < _MAX_LOOKALIKES:
            known.append(at)
    votes: Counter[int] = Counter()
    for number, line in enumerate(search[:400]):
        # A lone brace stands everywhere and says nothing.
        if len(line.strip()) > 3:
            votes.update(at - number for at in places.get(line.strip(), ()))
    # Of equals the one that an earlier line of the search stands for.
    return max(votes, key=votes.__getitem__) if votes else None


def _most_alike(lines: Sequence[str], search: Sequence[str]) -> str:
    """The line of the parent that shares the most words with the longest line of the search."""
    wanted = set(_WORD.findall(max(search, key=len)[:1000]))
    best, best_score = -1, 0.0
    for at, line in enumerate(lines):
        words = set(_WORD.findall(line[:1000]))
        score = len(words & wanted) / max(len(words | wanted), 1)
        if score > best_score:
            best, best_score = at, score
    if best < 0:
        return "no line of the parent is like it"
    return f"the nearest line of the parent is line {best + 1}: {_quoted(lines[best])}"


def _quoted(line: str) -> str:
    return repr(line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "...")
