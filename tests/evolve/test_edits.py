"""Search/replace blocks: found in a reply, applied to a parent, refused with the block's number."""

from __future__ import annotations

import json

import pytest

from kforge.eval.candidate import parse_candidate
from kforge.search.edits import MAX_EDITS, apply_edits, find_edits
from kforge.search.parse import MAX_REPLY_BYTES, parse_reply
from kforge.types import CandidateSource, ParseFailed
from tests.evolve.replies import FILE, OLDER, PLAN, edit, fence, indented

PARENT = (
    'LANGUAGE = "sycl"\nTUNE = {"BLOCK": [64, 128]}\nSOURCE = r\'\'\'\n#include <sycl/sycl.hpp>\n'
    "void f() {\n  int a = 1;\n  int b = 2;\n  g(a);\n  g(b);\n}\n\nvoid h() {\n  int a = 1;\n}\n'''\n\n\n"
    "def plan(k, x):\n    y = k.empty_like(x)\n    if True:\n        k.launch('f', (1,), (1,), [y])\n"
    "    return y\n"
)
CHANGE = edit("  int b = 2;\n", "  int b = 3;\n")
EXPECTED = PARENT.replace("b = 2", "b = 3")


def applied(reply: str, parent: str = PARENT) -> str | ParseFailed:
    return apply_edits(parent, find_edits(reply.split("\n")))


GOOD = {
    "bare": CHANGE,
    "prose around it": f"The constant is wrong.\n\n{CHANGE}\nThat is all.\n",
    "in a fence": fence(CHANGE, ""),
    "in an answer tag": f"Only the <code>b</code>.\n<answer>\n{CHANGE}</answer>\n",
    "in a json object": json.dumps({"thoughts": "hm", "edits": CHANGE}),
    "in a python fence": fence(CHANGE),
    "in a diff fence with a file name": "candidate.py\n" + fence(CHANGE, "diff"),
    "in a fence that is never closed": "```\n" + CHANGE,
    "every block in its own fence": fence(edit("  g(a);\n", "  g(a);\n")) + fence(CHANGE),
    "longer markers, small letters": CHANGE.replace("<<<<<<< SEARCH", "<<<<<<<< search"),
    "shorter markers": CHANGE.replace(">>>>>>>", ">>>>>").replace("=======", "====="),
    "a bracket behind the marker": CHANGE.replace("SEARCH", "SEARCH>"),
    "CRLF": CHANGE.replace("\n", "\r\n"),
    "trailing white space in the search": edit("  int b = 2;  \n", "  int b = 3;\n"),
    "indented fence": indented(fence(CHANGE), "   "),
    "no indentation": edit("int b = 2;\ng(a);\n", "int b = 3;\ng(a);\n"),
    "too much indentation": edit("      int b = 2;\n      g(a);\n", "      int b = 3;\n      g(a);\n"),
    "no-break spaces": CHANGE.replace("  int", "\u00a0 int"),
    "thoughts before it": f"<think>{edit('x', 'y')}</think>\n{CHANGE}",
    "in two steps": edit("  int b = 2;\n", "  int b = 4;\n") + edit("  int b = 4;\n", "  int b = 3;\n"),
    "snippets of the plan and the code behind it": CHANGE + fence("__global__\n", "cuda") + fence(PLAN),
    "the parent quoted before it": fence(PARENT) + CHANGE,
    "an older whole file before it": fence(FILE) + CHANGE,
    "whole file behind it": edit("nonsense\n", "") + fence(EXPECTED),
    "truncated block behind a whole file": fence(EXPECTED) + CHANGE[:-10],
    "fences inside the block": edit("  int b = 2;\n", "  int b = 3;\n/*\n```python\n*/\n") + edit(
        "/*\n```python\n*/\n", ""),
}  # fmt: skip


@pytest.mark.parametrize("reply", GOOD.values(), ids=GOOD)
def test_replies_that_edit_the_parent(reply: str) -> None:
    parsed = parse_reply(reply, parse_candidate, PARENT)
    assert isinstance(parsed, CandidateSource), parsed
    assert parsed.text == EXPECTED


def test_indentation_is_carried_over_to_the_replacement() -> None:
    reply = edit(
        "if True:\n    k.launch('f', (1,), (1,), [y])\n", "for i in (1, 2):\n    k.launch(i)\n\n    y()\n"
    )
    assert applied(reply) == PARENT.replace(
        "    if True:\n        k.launch('f', (1,), (1,), [y])\n",
        "    for i in (1, 2):\n        k.launch(i)\n\n        y()\n",
    )


def test_lines_are_removed_and_added() -> None:
    assert applied(edit("  g(a);\n  g(b);\n", "")) == PARENT.replace("  g(a);\n  g(b);\n", "")
    more = edit("  g(b);\n", "  g(b);\n  g(b + 1);\n")
    assert applied(more) == PARENT.replace("  g(b);\n", "  g(b);\n  g(b + 1);\n")
    assert applied(edit(PARENT, FILE)) == FILE


def test_the_strictest_reading_that_fits_wins() -> None:
    assert applied(edit("x\n", "z\n"), "  x\nx\n") == "  x\nz\n"
    assert applied(edit("x \n", "z\n"), "x\nx \n") == "x\nz\n"


def test_rows_of_equals_signs_may_be_text() -> None:
    reply = edit("Title\n=====\n", "Name\n=====\n")
    assert applied(reply, "Title\n=====\n") == "Name\n=====\n"


def test_a_parent_with_other_line_ends() -> None:
    assert applied(CHANGE, PARENT.replace("\n", "\r\n")) == EXPECTED


BAD = {
    "missing": (
        edit("  int b = 5;\n", "\n"),
        "search/replace block 1 of 1: its SEARCH text is not in the parent; the nearest line of the parent "
        "is line 7: '  int b = 2;'",
    ),
    "missing, nothing like it": (edit("wholly other words\n", ""), "no line of the parent is like it"),
    "one line differs": (
        edit("void f() {\n  int a = 1;\n  int b = 7;\n  g(a);\n", ""),
        "line 3 of it is '  int b = 7;', where the parent has '  int b = 2;' at line 7",
    ),
    "a line of the parent is written as two": (
        edit("  int a = 1;\n  int\n  b = 2;\n  g(a);\n", ""),
        "line 2 of it is '  int', where the parent has '  int b = 2;' at line 7",
    ),
    "uneven indentation": (
        edit("    if True:\n            k.launch('f', (1,), (1,), [y])\n", ""),
        "where the parent has \"        k.launch('f', (1,), (1,), [y])\" at line 21",
    ),
    "beyond the end": (edit("    return y\n\nmore\n", ""), "line 3 of it is 'more', where the parent ends"),
    "twice": (edit("  int a = 1;\n", ""), "more than once (at lines 6 and 13)"),
    "the second of two": (CHANGE + edit("nothing like this\n", ""), "block 2 of 2"),
    "changed by an earlier block": (CHANGE + CHANGE, "block 2 of 2: an earlier block changed the lines"),
    "empty search": (edit("", "  int c;\n"), "empty SEARCH part"),
    "blank search": (edit("  \n\n", "  int c;\n"), "empty SEARCH part"),
    "no change": (edit("  int b = 2;\n", "  int b = 2;\n"), "leave the parent as it is"),
    "there and back": (CHANGE + edit("  int b = 3;\n", "  int b = 2;\n"), "leave the parent as it is"),
    "unclosed": (CHANGE + CHANGE[:-16], "block 2 of 2 is truncated"),
    "unclosed before another": (CHANGE[:-16] + CHANGE, "block 1 of 2 is truncated"),
    "unclosed in a closed fence": (fence(CHANGE[:-16]), "block 1 of 1 is truncated"),
    "no divider": (CHANGE.replace("=======\n", ""), "has no line ======="),
    "three parts": (edit("  g(a);\n=======\n", "b\n"), "has 2 lines of ==="),
    "too many": (edit("a\n", "b\n") * (MAX_EDITS + 1), f"has {MAX_EDITS + 1} search/replace blocks"),
    "what comes out is broken": (
        edit("  int b = 2;\n", "'''\n"),
        "read the parent with 1 search/replace block(s)",
    ),
}


@pytest.mark.parametrize(("reply", "expected"), BAD.values(), ids=BAD)
def test_edits_that_cannot_be_applied_say_why(reply: str, expected: str) -> None:
    parsed = parse_reply(reply, parse_candidate, PARENT)
    assert isinstance(parsed, ParseFailed), parsed
    assert expected in parsed.reason
    assert len(parsed.reason) < 2_000


def test_edits_need_a_parent() -> None:
    parsed = parse_reply(CHANGE, parse_candidate)
    assert isinstance(parsed, ParseFailed)
    assert "no parent to change" in parsed.reason
    assert isinstance(parse_reply(CHANGE + fence(FILE), parse_candidate), CandidateSource)


def test_of_several_whole_files_and_edits_the_last_counts() -> None:
    reply = CHANGE + fence(OLDER) + edit("  g(a);\n", "  g(a + 1);\n") + fence(FILE) + "Or rather:\n"
    parsed = parse_reply(reply, parse_candidate, PARENT)
    assert isinstance(parsed, CandidateSource)
    assert parsed.text == FILE
    parsed = parse_reply(reply + CHANGE, parse_candidate, PARENT)
    assert isinstance(parsed, CandidateSource)
    assert parsed.text == EXPECTED


UNITS = [
    "<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n", "<<<<<<< SEARCH\na\n=======\n>>>>>>> REPLACE\n",
    "<<<<<<< SEARCH\n=======\n", "```\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```\n",
    "<", "<<<<<<< SEARCH",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_markers_is_refused(unit: str) -> None:
    # Quadratic work on a megabyte would run into the time limit of the test.
    text = unit * (MAX_REPLY_BYTES // len(unit))
    assert isinstance(parse_reply(text, parse_candidate, PARENT), ParseFailed)


def test_long_parents_and_long_searches_are_quick() -> None:
    blank, half = "\n" * 400_000, "\n" * 200_000
    assert isinstance(applied(edit(half + "x\n", "y\n"), blank), ParseFailed)
    assert isinstance(applied(edit("  x\n" * 100_000 + " y\n", "y\n"), "x\n" * 200_000), ParseFailed)
    assert isinstance(applied(edit("  x\n" * 100_000, "y\n"), "x\n" * 200_000), ParseFailed)
    assert isinstance(applied(edit("x " * 400_000 + "\n", "y\n"), "y x\n" * 200_000), ParseFailed)
    many = "".join(edit(f"  line {n}\n", f"  line {n} changed\n") for n in range(MAX_EDITS))
    parent = "".join(f"line {n}\n" for n in range(20_000))
    assert not isinstance(applied(many, parent), ParseFailed)
