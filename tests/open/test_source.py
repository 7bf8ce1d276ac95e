"""An open candidate is read from its syntax tree: whatever the text, nothing of it runs."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kforge.eval.candidate import parse_candidate
from kforge.eval.open.source import MAX_BYTES, is_open, parse_open
from kforge.open_types import OpenSource
from kforge.types import CandidateSource, ParseFailed

MODEL = "class ModelNew(nn.Module):\n    pass\n"
SEALED = "LANGUAGE = \"cuda\"\nSOURCE = r'''x'''\ndef plan(k, x):\n    return x\n"

OPEN = {
    "a class": MODEL,
    "an assignment": "import torch\nModelNew = torch.nn.ReLU\n",
    "an import": "from somewhere import Fast as ModelNew\n",
    "a byte order mark": "\ufeff" + MODEL,
    "an invalid escape in a docstring": '"""\\d"""\n' + MODEL,
    "code after it that would end the process": MODEL + "import os\nos._exit(3)\n",
    "code before it that raises": "raise SystemExit(1)\n" + MODEL,
}
NOT_OPEN = {
    "empty": ("", "defines no ModelNew"),
    "prose": ("I cannot help with that.", "line 1"),
    "in a comment": ("# class ModelNew: ...\n", "defines no ModelNew"),
    "in a string": (f"TEXT = '''{MODEL}'''\n", "defines no ModelNew"),
    "inside a function": ("def f():\n    class ModelNew: pass\n", "defines no ModelNew"),
    "another name": (MODEL.replace("ModelNew", "Model"), "class ModelNew(nn.Module)"),
    "a syntax error": (MODEL + "def f(:\n", "line 3"),
    "a NUL": (MODEL + "x = '\0'\n", "null bytes"),
    "a lone surrogate": (MODEL + "x = '\ud800'\n", "cannot be read as Python"),
    "nested parentheses": (MODEL + "x = " + "(" * 100_000 + ")" * 100_000, ""),
    "nested minus signs": (MODEL + "x = " + "-" * 200_000 + "1\n", ""),
    "an int of a million digits": (MODEL + "x = " + "9" * 1_000_000 + "\n", ""),
    "too long": (MODEL + "#" * MAX_BYTES, "4 MiB"),
    "too long in bytes, not in characters": (MODEL + "#" + "é" * (MAX_BYTES // 2), "4 MiB"),
    "an unknown precision": (MODEL + "PRECISION = 'fp8'\n", "ieee, tf32, fp16, bf16"),
    "a precision of a million letters": (MODEL + f"PRECISION = '{'x' * 1_000_000}'\n", "PRECISION is 'xxx"),
    "a precision that is a number": (MODEL + "PRECISION = 16\n", "ieee, tf32, fp16, bf16"),
}


@pytest.mark.parametrize("name", OPEN)
def test_a_module_with_model_new(name: str) -> None:
    text = OPEN[name]
    parsed = parse_open(text)
    assert isinstance(parsed, OpenSource), parsed
    assert parsed.precision == "ieee"
    assert parsed.text == text.removeprefix("\ufeff")
    assert parsed.hash == hashlib.sha256(parsed.text.encode()).hexdigest()
    assert is_open(text)


@pytest.mark.parametrize("name", NOT_OPEN)
def test_all_else_is_refused_with_a_reason(name: str) -> None:
    text, words = NOT_OPEN[name]
    parsed = parse_open(text)
    assert isinstance(parsed, ParseFailed)
    assert words in parsed.reason
    assert len(parsed.reason) < 500


def test_line_ends_make_no_other_candidate() -> None:
    unix = parse_open(MODEL + "x = 1\n")
    assert unix == parse_open((MODEL + "x = 1\n").replace("\n", "\r\n"))
    assert unix == parse_open((MODEL + "x = 1\n").replace("\n", "\r"))


@pytest.mark.parametrize("precision", ["ieee", "tf32", "fp16", "bf16"])
def test_a_declared_precision_is_read(precision: str) -> None:
    parsed = parse_open(f"PRECISION = {precision!r}\n" + MODEL)
    assert isinstance(parsed, OpenSource)
    assert parsed.precision == precision


@pytest.mark.parametrize("value", ["torch.float16", "str('fp16')", "['fp16']"])
def test_a_name_of_the_candidates_own_declares_nothing(value: str) -> None:
    parsed = parse_open(f"PRECISION = {value}\n" + MODEL)
    assert isinstance(parsed, OpenSource)
    assert parsed.precision == "ieee"


def test_no_file_is_a_candidate_of_both_kinds() -> None:
    assert isinstance(parse_candidate(SEALED), CandidateSource)
    assert not is_open(SEALED)
    assert isinstance(parse_open(SEALED), ParseFailed)
    assert isinstance(parse_candidate(SEALED + MODEL), ParseFailed)


@given(st.text(max_size=200), st.booleans())
def test_whatever_the_text_the_two_functions_agree(text: str, with_model: bool) -> None:
    whole = text + "\n" + MODEL if with_model else text
    if isinstance(parse_open(whole), OpenSource):
        assert is_open(whole)
