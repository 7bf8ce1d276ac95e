"""The parser on anything at all: it never raises, and edits made of a difference restore the child."""

from __future__ import annotations

import difflib
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.eval.candidate import parse_candidate
from kforge.search.edits import apply_edits, find_edits
from kforge.search.parse import parse_reply
from kforge.types import CandidateSource, ParseFailed
from tests.evolve.replies import FILE, edit, fence

MARKS = [
    "```", "```python", "~~~", "````md", "<think>", "</think>", "<answer>", "</answer>", "<<<<<<< SEARCH",
    "=======", ">>>>>>> REPLACE", "def plan(k, x):", "    return x", 'LANGUAGE = "sycl"', "SOURCE = '''",
    "'''", '"""', "{", "}", "<|channel|>final<|message|>", "@@ -1 +1", "&lt;", "\u00a0", "\u202e",
    "// \ufeff", "__global__ void f() {}", "",
]  # fmt: skip
LINES = st.one_of(st.sampled_from(MARKS), st.sampled_from(FILE.split("\n")), st.text(max_size=12))
TEXTS = st.lists(LINES, max_size=40).map("\n".join)


@settings(max_examples=400, deadline=5_000)
@given(TEXTS, st.none() | st.just(FILE) | TEXTS)
def test_the_parser_never_raises_and_says_why(text: str, parent: str | None) -> None:
    parsed = parse_reply(text, parse_candidate, parent)
    assert parse_reply(text, parse_candidate, parent) == parsed
    if isinstance(parsed, ParseFailed):
        assert 10 < len(parsed.reason) < 2_000
    else:
        assert parse_candidate(parsed.text) == parsed
        assert parse_reply(fence(parsed.text, mark="`````"), parse_candidate) == parsed


@settings(max_examples=200, deadline=5_000)
@given(TEXTS, TEXTS)
def test_a_fenced_file_is_found_whatever_stands_before_it(prose: str, parent: str) -> None:
    # Quoted, so that no open fence of the prose swallows it.
    quoted = "\n".join("| " + line for line in re.split(r"[\r\n\0]", prose))
    parsed = parse_reply(f"{quoted}\n{fence(FILE)}", parse_candidate, parent)
    assert isinstance(parsed, CandidateSource), parsed
    assert parsed.text == FILE


def edits_between(parent: list[str], child: list[str]) -> str:
    """A block for every difference, with as many lines around it as make it unique when its turn comes."""
    blocks: list[str] = []
    current, moved = list(parent), 0
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, parent, child, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        start, stop = i1 + moved, i2 + moved
        above, below = start, stop
        while not is_unique(current, current[above:below]):
            above, below = max(above - 1, 0), min(below + 1, len(current))
        replacement = [*current[above:start], *child[j1:j2], *current[stop:below]]
        search = "".join(line + "\n" for line in current[above:below])
        replace = "".join(line + "\n" for line in replacement)
        blocks.append(edit(search, replace))
        current[above:below] = replacement
        moved += (j2 - j1) - (i2 - i1)
    assert current == child
    return "\n".join(blocks)


def is_unique(lines: list[str], part: list[str]) -> bool:
    places = range(len(lines) - len(part) + 1)
    here = sum(lines[at : at + len(part)] == part for at in places)
    return here == 1 and any(line.strip() for line in part)


CODE = st.sampled_from(
    ["a", "  a", "b", "  b ", "{", "}", "", "\t", "int c = 0;", "// =====", "x\u2028y", "\x0b"]
)


@settings(max_examples=400, deadline=5_000)
@given(st.lists(CODE, max_size=25), st.lists(CODE, max_size=25))
def test_the_edits_that_make_the_child_make_the_child(before: list[str], after: list[str]) -> None:
    parent, child = ["first", *before], ["first", *after]
    result = apply_edits("\n".join(parent), find_edits(edits_between(parent, child).split("\n")))
    if parent == child:
        assert isinstance(result, ParseFailed)
    else:
        assert result == "\n".join(child)


INDENTED = st.lists(
    st.tuples(st.sampled_from(["", "  ", "\t", "    "]), st.integers(0, 30)), min_size=1, max_size=12
)


@settings(max_examples=200, deadline=5_000)
@given(INDENTED, INDENTED, st.integers(0, 11), st.sampled_from(["  ", "\t", "   "]))
def test_a_common_indentation_of_the_block_changes_nothing(
    before: list[tuple[str, int]], after: list[tuple[str, int]], cut: int, by: str
) -> None:
    # Every line of the parent is another one, so that no other place fits.
    parent = [f"{indent}old {number} {at}" for at, (indent, number) in enumerate(before)]
    start = min(cut, len(parent) - 1)
    new = [f"{indent}new {number}" for indent, number in after]
    search, replace = ("".join(f"{by}{line}\n" for line in part) for part in (parent[start:], new))
    result = apply_edits("\n".join(parent), find_edits(edit(search, replace).split("\n")))
    assert result == "\n".join([*parent[:start], *new])
