import re

import pytest

from kforge.eval.candidate import MAX_CHARS, parse_candidate
from kforge.types import CandidateSource, ParseFailed
from tests.plan.examples import PLAN, text

HEAD = 'LANGUAGE = "sycl"\nSOURCE = "code"\n'
TAIL = "def plan(k, x):\n    return x\n"


def test_a_correct_file_is_split_into_its_parts() -> None:
    parsed = parse_candidate('"""Doc."""\nimport math\n' + text().replace("\n", "\r\n"))
    assert isinstance(parsed, CandidateSource)
    assert parsed.language == "sycl"
    assert parsed.precision == "ieee"
    assert parsed.tune == {"BLOCK": (64, 128)}
    assert parsed.first_choice() == {"BLOCK": 64}
    assert "\r" not in parsed.text
    assert len(parsed.hash) == 64
    assert "void inorm" in parsed.device_code


def test_nothing_is_executed() -> None:
    parsed = parse_candidate(HEAD + "def plan(k, x=[][0]):\n    raise SystemExit\n")
    assert isinstance(parsed, CandidateSource)


def test_tune_takes_every_kind_of_literal() -> None:
    parsed = parse_candidate(HEAD + 'TUNE = {"A": [True, 1, -2, 0.5, "float"], "T": ["sycl::half"]}\n' + TAIL)
    assert isinstance(parsed, CandidateSource)
    assert parsed.tune["A"] == (True, 1, -2, 0.5, "float") or True in parsed.tune["A"]
    assert parsed.tune["T"] == ("sycl::half",)


REFUSED = {
    "empty": ("", "LANGUAGE is missing"),
    "no source": ('LANGUAGE = "sycl"\n' + TAIL, "SOURCE is missing"),
    "no plan": (HEAD, "def plan"),
    "plan without k": (HEAD + "def plan():\n    pass\n", "line 3: plan must take k"),
    "syntax": (HEAD + "def plan(k:\n", "line 3: not valid Python"),
    "language": ('LANGUAGE = "rust"\nSOURCE = "c"\n' + TAIL, "'sycl' or 'cuda'"),
    "precision": (HEAD + 'PRECISION = "int4"\n' + TAIL, "PRECISION"),
    "f-string": ('LANGUAGE = "sycl"\nSOURCE = f"a{1}"\n' + TAIL, "line 2: SOURCE must be one plain string"),
    "source sum": ('LANGUAGE = "sycl"\nSOURCE = "a" + "b"\n' + TAIL, "plain string literal"),
    "source empty": ('LANGUAGE = "sycl"\nSOURCE = "  "\n' + TAIL, "SOURCE is empty"),
    "source bytes": ('LANGUAGE = "sycl"\nSOURCE = b"x"\n' + TAIL, "plain string literal"),
    "source nul": ('LANGUAGE = "sycl"\nSOURCE = "a\\0"\n' + TAIL, "NUL"),
    "import os": ("import os\n" + HEAD + TAIL, "line 1: `import os` is not allowed"),
    "import math as": ("import math as m\n" + HEAD + TAIL, "not allowed"),
    "import two": ("import math, os\n" + HEAD + TAIL, "not allowed"),
    "from": ("from math import pi\n" + HEAD + TAIL, "`from math import ...`"),
    "constant": (HEAD + "BLOCK = 4\n" + TAIL, "assignment to BLOCK"),
    "call": (HEAD + TAIL + "print(1)\n", "line 5: a statement of kind Expr"),
    "class": (HEAD + "class A: pass\n" + TAIL, "class A"),
    "async": (HEAD + "async def plan(k): pass\n", "AsyncFunctionDef"),
    "decorator": (HEAD + "@print\n" + TAIL, "decorator"),
    "twice": (HEAD + TAIL + TAIL, "plan is defined twice"),
    "if": ("if True:\n    LANGUAGE = 'sycl'\n", "a statement of kind If"),
    "tune list": (HEAD + "TUNE = [1]\n" + TAIL, "TUNE must be a dict"),
    "tune call": (HEAD + 'TUNE = {"A": list(range(3))}\n' + TAIL, "non-empty list"),
    "tune empty": (HEAD + 'TUNE = {"A": []}\n' + TAIL, "non-empty list"),
    "tune name": (HEAD + 'TUNE = {"A-B": [1]}\n' + TAIL, "plain C identifier"),
    "tune keyword": (HEAD + 'TUNE = {"float": [1]}\n' + TAIL, "keyword"),
    "tune reserved": (HEAD + 'TUNE = {"__X": [1]}\n' + TAIL, "plain C identifier"),
    "tune code": (HEAD + 'TUNE = {"A": ["1; evil()"]}\n' + TAIL, "C name"),
    "tune none": (HEAD + 'TUNE = {"A": [None]}\n' + TAIL, "literals only"),
    "tune inf": (HEAD + 'TUNE = {"A": [1e999]}\n' + TAIL, "not finite"),
    "tune big": (HEAD + f'TUNE = {{"A": [{2**64}]}}\n' + TAIL, "64 bits"),
    "tune twice": (HEAD + 'TUNE = {"A": [1, 1]}\n' + TAIL, "lists a choice twice"),
    "tune names": (HEAD + f"TUNE = { ({f'A{i}': [1] for i in range(17)}) }\n" + TAIL, "16 is the limit"),
    "tune choices": (HEAD + f"TUNE = {{'A': {list(range(65))}}}\n" + TAIL, "the limit is 64"),
    "tune spread": (HEAD + 'TUNE = {**{"A": [1]}}\n' + TAIL, "TUNE must be a dict"),
    "nul": (HEAD + "\0" + TAIL, "NUL"),
    "deep": (HEAD + "def plan(k):\n    return " + "(" * 5000 + ")" * 5000, "line 4|deeply"),
    "deep unary": (HEAD + "def plan(k):\n    return " + "-" * 100_000 + "1", "deeply|not valid"),
    "long sum": (HEAD + "def plan(k):\n    return " + "1+" * 100_000 + "1", "deeply"),
    "huge int": (HEAD + "def plan(k):\n    return " + "1" * 10_000, "not valid Python"),
    "surrogate": (HEAD + "# \ud800\n" + TAIL, "surrogate|not valid"),
    "50 MB": ("x" * 50_000_000, f"{MAX_CHARS} is the limit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_file_gets_a_reason_that_says_where_and_what(name: str) -> None:
    file, reason = REFUSED[name]
    parsed = parse_candidate(file)
    assert isinstance(parsed, ParseFailed)
    assert re.search(reason, parsed.reason), parsed.reason
    assert len(parsed.reason) < 600


def test_invalid_escapes_are_no_business_of_the_parser() -> None:
    assert isinstance(parse_candidate('"""\\d"""\n' + HEAD + PLAN), CandidateSource)
