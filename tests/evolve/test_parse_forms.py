"""What servers, chats and small models make of a reply: read, or refused with a reason to act on."""

from __future__ import annotations

import json

import pytest

from kforge.eval.candidate import parse_candidate
from kforge.search.parse import MAX_REPLY_BYTES, parse_reply
from kforge.types import CandidateSource, ParseFailed
from tests.evolve.replies import DEVICE_CODE, FILE, OLDER, PLAN, fence, indented

DOCUMENTED = '"""How to use it.\n\n```\nkforge eval x.py\n```\n"""\n' + FILE
CALL = {"name": "write", "arguments": {"path": "x.py", "content": FILE}}
HEAD, TAIL = FILE.split("\n\n\n")

WRAPPED = {
    "thinking tag": f"<thinking>{fence(OLDER)}</thinking>\n{fence(FILE)}",
    "capital thinking tag": f"<Think>\nhm\n</THINK>\n{fence(FILE)}",
    "square brackets": f"[THINK]{fence(OLDER)}[/THINK]{fence(FILE)}",
    "bars": f"<|begin_of_thought|>\n{OLDER}<|end_of_thought|>\n{fence(FILE)}",
    "triangles": f"◁think▷ hm ◁/think▷\n{fence(FILE)}",
    "drafts in a thought that the prompt opened": f"A draft:\n{fence(OLDER)}\n</think>\n\n{fence(FILE)}",
    "a thought of the prompt, then a bare file": f"A draft:\n{fence(OLDER)}\n</think>\n\n{FILE}",
    "channels": f"<|channel|>analysis<|message|>{fence(OLDER)}<|end|><|start|>assistant<|channel|>final"
    f"<|message|>{fence(FILE)}<|return|>",
    "end mark": fence(FILE) + "<|im_end|>\n",
    "end mark glued to the fence": fence(FILE).rstrip() + "<|im_end|>",
    "end mark after a bare file": FILE + "</s>",
    "answer tag": f"<answer>\n{fence(FILE)}</answer>\n",
    "answer tag glued to the fences": f"<answer>```python\n{FILE}```</answer>\n",
    "answer tag without fences": f"Here it is.\n<answer>\n{FILE}</answer>\n",
    "code tag": f"<code>{FILE}</code>",
    "two answer tags": f"<answer>\n{OLDER}</answer>\n<answer>\n{FILE}</answer>\n",
    "json object": json.dumps({"thoughts": "hm", "code": FILE}),
    "json object with a fenced file": json.dumps({"answer": fence(FILE)}),
    "json in a fence": fence(json.dumps({"code": FILE}) + "\n", "json"),
    "json with raw line ends": '{"code": "' + FILE.replace('"', '\\"') + '"}',
    "json with a list of files": json.dumps({"files": [{"path": "x.py", "text": FILE}, {"path": "y"}]}),
    "code tag in the prose": f"The <code>plan</code>:\n<answer>\n{FILE}</answer>\n",
    "tool call": f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>",
    "tool call with arguments as text": json.dumps({"name": "w", "arguments": json.dumps({"code": FILE})}),
    "tool call with parameters": "<function=write>\n<parameter=path>\nx.py\n</parameter>\n"
    f"<parameter=content>\n{FILE}</parameter>\n</function>",
    "markdown fence of the same length": "```markdown\n# Kernel\n" + fence(FILE) + "```\n",
    "longer markdown fence": "````md\n# Kernel\n" + fence(FILE) + "````\nDone.\n",
    "markdown fence, then a better file": "````md\n" + fence(OLDER) + "````\n" + fence(FILE),
    "untagged fence around a fence": "```\n" + fence(FILE) + "```\n",
    "opening fence twice": "```python\n" + fence(FILE),
    "tag of a file name": fence(FILE, "candidate.py"),
    "tag with a file name": fence(FILE, "python:candidate.py"),
    "tag of the kernel language": fence(FILE, "sycl"),
    "tag of another language": fence(FILE, "text"),
    "closing fence is indented too far": f"```python\n{FILE}        ```\n",
    "closing fence of the other kind": f"~~~python\n{FILE}```\n",
    "backticks behind the tag": f"```python `x`\n{FILE}```\n",
    "two python blocks make the file": f"{fence(HEAD + chr(10))}and the plan:\n{fence(TAIL)}",
    "no-break spaces": fence(FILE.replace("    return", "\u00a0\u00a0\u00a0\u00a0return")),
    "other languages in the prose": f"这是内核。\nهذه هي النواة:\n{fence(FILE)}Готово. 🚀\n",
    "a bidi override in the prose": f"\u202eabc\u202c\n{fence(FILE)}",
    "non-ASCII comments": fence(FILE.replace("// the", "// the row’s mean × 2 – größer 速い 🚀: the")),
}


@pytest.mark.parametrize("text", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_replies_are_read(text: str) -> None:
    parsed = parse_reply(text, parse_candidate)
    assert isinstance(parsed, CandidateSource), parsed
    assert "the device code" in parsed.device_code
    assert "older draft" not in parsed.text
    assert parsed.text.startswith(("LANGUAGE", "SOURCE"))


DOCSTRING = '    """Like\n\n    ```\n    y\n    ```\n    """\n'
FENCED_STRINGS = {
    "in the docstring": DOCUMENTED,
    "in a docstring of the plan": FILE.replace("(k, x):\n", f"(k, x):\n{DOCSTRING}"),
    "in a comment of the device code": FILE.replace("// the", "/*\n```cpp\nf();\n```\n*/ // the"),
}  # fmt: skip


@pytest.mark.parametrize("prose", ["", "```\nkforge eval\n```\n"], ids=["alone", "after a shell block"])
@pytest.mark.parametrize("text", FENCED_STRINGS.values(), ids=FENCED_STRINGS)
def test_fences_inside_the_file_do_not_end_it(text: str, prose: str) -> None:
    parsed = parse_reply(prose + fence(text), parse_candidate)
    assert isinstance(parsed, CandidateSource), parsed
    assert parsed.text == text


def test_fences_inside_an_indented_file_do_not_end_it() -> None:
    parsed = parse_reply(indented(fence(DOCUMENTED), "  "), parse_candidate)
    assert isinstance(parsed, CandidateSource), parsed
    assert parsed.text == DOCUMENTED


LOOP = "  acc = sycl::fma(a[i], b[i], acc);\n" * 400
DIFF = "--- a/x.py\n+++ b/x.py\n@@ -1,3 +1,3 @@\n-a\n+b\n"
REFUSED = {
    "truncated thinking": (f"<thinking>{fence(FILE)}", "truncated inside <thinking>"),
    "no final channel": ("<|channel|>analysis<|message|>hm", "truncated inside channel analysis"),
    "draft in a thought, truncated answer": (f"{fence(OLDER)}\n</think>\n```python\n{FILE}", "truncated"),
    "closing fence glued to the code": (f"```python\n{FILE.rstrip()}```", "on a line of its own"),
    "a loop": (f"```python\n{FILE[:60]}{LOOP}", "repeats 'acc = sycl::fma"),
    "html": (
        fence(FILE.replace("<", "&lt;").replace(">", "&gt;")),
        "line 3 is escaped for HTML (&lt;)",
    ),
    "html without a fence": ("#include &lt;sycl/sycl.hpp&gt;", "escaped for HTML"),
    "smart quotes in python": (fence(FILE.replace('"sycl"', "“sycl”")), "line 1: not valid Python"),
    "smart quotes in device code": (
        fence(FILE.replace("void f() {}", "void f() { g(“a”); }")),
        "line 4 of SOURCE holds “ (U+201C, LEFT DOUBLE QUOTATION MARK)",
    ),
    "a long dash for a minus": (
        fence(FILE.replace("void f() {}", "/* – */ int f() { return 2 – 1; }")),
        "line 4 of SOURCE holds – (U+2013, EN DASH)",
    ),
    "right-to-left override": (
        fence(FILE.replace("// the", "// \u202e the")),
        "line 4 holds the invisible character (U+202E, RIGHT-TO-LEFT OVERRIDE)",
    ),
    "terminal escape": (fence(FILE.replace("// the", "// \x1b[31m the")), "U+001B, a control character"),
    "zero width space": (fence(FILE.replace("f()", "f\u200b()")), "U+200B"),
    "diff": (fence(DIFF, "diff"), "unified diff, which is not applied"),
    "diff without a fence": ("diff --git a/x.py b/x.py\n" + DIFF, "search/replace blocks"),
    "diff in a python fence": (fence(DIFF), "unified diff"),
    "only device code": (fence(DEVICE_CODE, "cuda"), "no python block that defines plan"),
    "only device code, untagged": (fence(DEVICE_CODE, ""), "no python block that defines plan"),
    "json without code": (json.dumps({"thoughts": "hm"}), "no fenced code block"),
    "json nested too deep": ('{"a":' * 50_000 + "1" + "}" * 50_000, "no fenced code block"),
    "json of many digits": ('{"code": ' + "1" * 100_000 + "}", "no fenced code block"),
    "json with a lone surrogate": ('{"code": "\\ud800"}', "no fenced code block"),
    "json with a candidate of lone surrogates": (
        json.dumps({"code": FILE + "# "})[:-2] + '\\ud800"}',
        "surrogate",
    ),
    "json with a NUL": (json.dumps({"code": FILE + "# \0"}), "U+0000"),
    "empty tool call": ("<tool_call></tool_call>", "no fenced code block"),
    "the line of a syntax error is shown": (
        fence(FILE + "x = = 1\n"),
        "(the line is 'x = = 1')",
    ),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_other_replies_are_refused_with_a_reason(text: str, expected: str) -> None:
    parsed = parse_reply(text, parse_candidate)
    assert isinstance(parsed, ParseFailed), parsed
    assert expected in parsed.reason
    assert len(parsed.reason) < 2_000


UNITS = [
    "<think></think>", "[THINK]", "<|channel|>", "<|channel|>a<|message|>", "<|im_end|>", "<answer>",
    "</answer>", "<code></code>", "<answer>{}</answer>", "<parameter=code>", "<a>", "<a> ", "```</a>\n",
    "<a>```python\n", "```md\n", "````md\n```\n", "{", '{"code":', "/*", "'", '"\\', "&lt;", "\u202e",
    "\u00a0", "@@ -1 +1\n", "{.", "```py\nx\n", "◁think▷", "<think>\n```\n", "SOURCE = r'''\n",
    "```python\nSOURCE = '''\ndef plan(k):\n```\n",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_anything_is_refused(unit: str) -> None:
    # Quadratic work on a megabyte would run into the time limit of the test.
    text = unit * (MAX_REPLY_BYTES // len(unit.encode()))
    assert isinstance(parse_reply(text, parse_candidate), ParseFailed)
    assert isinstance(parse_reply(fence(FILE[:-1] + text[:200_000]), parse_candidate, FILE), ParseFailed)


def test_a_megabyte_of_one_line_in_the_file_is_quick() -> None:
    bomb = FILE.replace("void f() {}", "/*" * 400_000 + "é")
    assert isinstance(parse_reply(fence(bomb), parse_candidate), CandidateSource)
    bomb = FILE.replace("void f() {}", "'\\" * 400_000 + "“")
    assert isinstance(parse_reply(fence(bomb), parse_candidate), CandidateSource | ParseFailed)


def test_a_plan_alone_is_still_no_candidate() -> None:
    parsed = parse_reply(fence(PLAN, "text"), parse_candidate)
    assert isinstance(parsed, ParseFailed)
