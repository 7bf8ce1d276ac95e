"""Replies, good and hostile, through the real candidate parser."""

from __future__ import annotations

import pytest

from kforge.eval.candidate import parse_candidate
from kforge.search.parse import MAX_REPLY_BYTES, parse_reply, storable
from kforge.types import CandidateSource, ParseFailed
from tests.evolve.replies import DEVICE_CODE, FILE, OLDER, PLAN, fence, indented

GOOD = {
    "one python fence": fence(FILE),
    "prose around it": f"Let me think.\n\n{fence(FILE)}\nThat should be fast.\n",
    "no final newline": fence(FILE).rstrip("\n"),
    "py tag": fence(FILE, "py"),
    "capital tag": fence(FILE, "Python"),
    "tag with attributes": fence(FILE, 'python title="candidate.py"'),
    "braced tag": fence(FILE, "{.python}"),
    "space before the tag": fence(FILE, " python"),
    "no tag": fence(FILE, ""),
    "tilde fence": fence(FILE, mark="~~~"),
    "four backticks": fence(FILE, mark="````"),
    "closing fence is longer": f"```python\n{FILE}`````\n",
    "closing fence has trailing spaces": f"```python\n{FILE}```   \n",
    "backtick run inside tildes": fence(FILE.replace("// the", "// ``` the"), mark="~~~"),
    "indented fence in a list": "1. Here:\n\n" + indented(fence(FILE), "   "),
    "indented by a tab": indented(fence(FILE), "\t"),
    "only the fence is indented": f"   ```python\n{FILE}   ```\n",
    "CRLF": fence(FILE).replace("\n", "\r\n"),
    "old Mac line ends": fence(FILE).replace("\n", "\r"),
    "BOM": "\ufeff" + fence(FILE),
    "bare file": FILE,
    "bare file with CRLF and BOM": "\ufeff" + FILE.replace("\n", "\r\n"),
    "bare file after blank lines": "\n\n" + FILE,
    "think block": f"<think>\nFirst:\n```python\nbroken(\n```\n</think>\n{fence(FILE)}",
    "two think blocks": f"<think>a</think>\n<think>b</think>{fence(FILE)}",
    "think opened in the prompt": f"I ponder ```cpp.\n</think>\n\n{fence(FILE)}",
    "think block around a draft": f"<think>{fence(OLDER)}</think>{fence(FILE)}",
    "the last of two files": fence(OLDER) + "Better:\n" + fence(FILE),
    "usage example after the file": fence(FILE) + "Run it with\n" + fence("print(plan)\n"),
    "shell block after the file": fence(FILE) + fence("kforge eval x.py\n", "bash"),
    "device snippet before the file": fence("void g();\n", "cpp") + fence(FILE),
    "device snippet after the file": fence(FILE) + fence("void g();\n", "cpp"),
    "complete file before a truncated remark": fence(FILE) + "And then\n```text\nlatency 12",
    "split: sycl and python": fence(DEVICE_CODE, "sycl") + fence(PLAN),
    "split: cpp and python": fence(DEVICE_CODE, "cpp") + fence(PLAN),
    "split: c++ and python": fence(DEVICE_CODE, "c++") + fence(PLAN),
    "split: python first": fence(PLAN) + fence(DEVICE_CODE, "sycl"),
    "split: language given": fence(DEVICE_CODE, "cpp") + fence('LANGUAGE = "sycl"\n' + PLAN),
    "split: untagged blocks": fence(DEVICE_CODE, "") + fence(PLAN, ""),
    "split: the last device block": fence("// an older draft\n", "sycl")
    + fence(DEVICE_CODE, "sycl")
    + fence(PLAN),
    "split: newer than a whole draft": fence(OLDER) + fence(DEVICE_CODE, "sycl") + fence(PLAN),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_replies(text: str) -> None:
    parsed = parse_reply(text, parse_candidate)
    assert isinstance(parsed, CandidateSource), parsed
    assert "the device code" in parsed.device_code
    assert "older draft" not in parsed.text
    assert parsed.language == "sycl"
    assert parsed.text.startswith(("LANGUAGE", "SOURCE"))


HOSTILE = {
    "empty": ("", "empty"),
    "blank": (" \n\t\n", "empty"),
    "prose": ("I cannot write kernels today.", "no fenced code block"),
    "only thoughts": ("<think>hmm</think>", "empty"),
    "truncated thoughts": ("<think>" + fence(FILE), "truncated inside <think>"),
    "truncated file": (f"```python\n{FILE[:-20]}", "truncated"),
    "truncated tilde fence": (f"~~~python\n{FILE[:-20]}", "truncated"),
    "truncated after the device code": (fence(DEVICE_CODE, "sycl") + "```python\ndef plan(k", "truncated"),
    "an opening fence and nothing": ("```", "truncated"),
    "python without plan": (fence('LANGUAGE = "sycl"\nSOURCE = ""\n'), "python block 1 of 1"),
    "plan without source": (fence(PLAN), "no SOURCE"),
    "device code without plan": (fence(DEVICE_CODE, "sycl"), "no python block"),
    "other languages only": (fence("fn main() {}\n", "rust"), "rust"),
    "syntax error": (fence(FILE + "def broken(:\n"), "read python block 1 of 1"),
    "bare file with prose before it": ("Here it is:\n" + FILE, "the whole reply"),
    "code that runs at import": (fence("import os\nos._exit(0)\n" + FILE), "read python block"),
    "NUL": (fence(FILE + "\x00"), "NUL"),
    "lone surrogate": (fence(FILE + "# \ud800\n"), "surrogate"),
    "too long": (fence(FILE + "#" * MAX_REPLY_BYTES), "limit"),
    "too long in bytes": ("\u20ac" * (MAX_REPLY_BYTES // 2), "limit"),
    "nesting bomb": (fence(FILE + "x = " + "(" * 50_000 + "\n"), "read python block"),
    "unary bomb": (fence(FILE + "x = " + "-" * 200_000 + "1\n"), "read python block"),
    "tag of 100000 characters": ("```" + "a" * 100_000 + "\nx\n```\n", "no candidate"),
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_replies_are_refused_with_a_reason(text: str, expected: str) -> None:
    parsed = parse_reply(text, parse_candidate)
    assert isinstance(parsed, ParseFailed), parsed
    assert expected in parsed.reason
    assert len(parsed.reason) < 2_000


UNITS = [
    "```\n",
    "~~~~\n",
    "<think>",
    "</think>",
    "`",
    " ",
    "\t",
    "```a\n",
    "def plan(",
    "LANGUAGE",
    "{.",
    "\r",
]


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_anything_is_refused(unit: str) -> None:
    # Quadratic work on a megabyte would run into the time limit of the test.
    text = unit * (MAX_REPLY_BYTES // len(unit))
    assert isinstance(parse_reply(text, parse_candidate), ParseFailed)


AWKWARD = {
    "triple single quotes": "// '''\n",
    "triple double quotes": '// """\n',
    "both": "// ''' and \"\"\"\n",
    "trailing backslash": "#define A \\\n",
    "ends in a backslash": "// \\",
    "ends in a quote": "char c = '",
    "ends in a double quote": '"',
    "escapes": 'const char* s = "\\n\\x41\\\\";\n',
    "unicode": "// größer als α\n",
    "braces": "{{ }} {% raw %}\n",
}


@pytest.mark.parametrize("code", AWKWARD.values(), ids=AWKWARD)
def test_device_code_survives_being_put_into_the_file(code: str) -> None:
    code = DEVICE_CODE + code
    parsed = parse_reply(f"```sycl\n{code}\n```\n{fence(PLAN)}", parse_candidate)
    assert isinstance(parsed, CandidateSource), parsed
    assert parsed.device_code.strip() == code.strip()


def test_cuda_fences_say_their_language() -> None:
    parsed = parse_reply(fence("__global__ void f() {}\n", "cuda") + fence(PLAN), parse_candidate)
    assert isinstance(parsed, CandidateSource), parsed
    assert parsed.language == "cuda"


def test_what_is_stored_of_a_reply_fits_every_database() -> None:
    assert storable("a\x00b\ud800c") == "a\ufffdb?c"
    assert storable("x" * (MAX_REPLY_BYTES + 5)).endswith(f"the text had {MAX_REPLY_BYTES + 5} characters]")
    assert storable(FILE) == FILE
