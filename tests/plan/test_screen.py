import re

import pytest

from kforge.eval.screen import screen_source
from kforge.types import ScreenedOut
from tests.plan.examples import SOURCE, candidate

ACCEPTED = {
    "example": SOURCE,
    "headers": "#include <sycl/ext/oneapi/bfloat16.hpp>\n#include <cmath>\n# include <cstdint> // x\nint a;",
    "comment": '// #include "/etc/passwd"\n/* asm */ int a;',
    "string": 'const char* a = "#include \\"x\\" asm // /*"; int b;',
    "pragma": "#pragma unroll\n#pragma unroll 4\n#pragma clang loop unroll(full)\nint a;",
    "conditional": "#if defined(A) && A > 1'000\nint a;\n#elif B\n#endif\n#undef A",
    "builtin": "int a = __builtin_popcount(3); int imported; int module_size;",
    "char": "char a = '\"'; char b = '\\''; int c = 1'000;",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_honest_code_passes(name: str) -> None:
    assert screen_source(candidate(source=ACCEPTED[name])) is None


REFUSED = {
    "quote": ('#include "secret.h"', "include", "only <...>"),
    "absolute": ("#include </etc/passwd>", "include", "not on the list"),
    "parent": ("#include <sycl/../../etc/passwd>", "include", "not on the list"),
    "parent hpp": ("#include <sycl/../x.hpp>", "include", "not on the list"),
    "other": ("#include <fstream>", "include", "<fstream> is not on the list"),
    "macro": ("#define H <cmath>\n#include H", "include", "line 2"),
    "next": ("#include_next <cmath>", "include", "include_next"),
    "import": ("#import <cmath>", "include", "#import"),
    "embed": ('const char a[] = {\n#embed "/etc/passwd"\n};', "include", "line 2"),
    "has": ("#if __has_include(</etc/shadow>)\n#endif", "include", "__has_include"),
    "has embed": ("#if __has_embed(</etc/shadow>)\n#endif", "include", "__has_embed"),
    "line": ('#line 1 "x"', "include", "#line"),
    "marker": ('# 1 "/etc/passwd"', "include", "line 1"),
    "splice": ('#inc\\\nlude "x"', "include", "only <...>"),
    "splice space": ('#inc\\  \nlude "x"', "include", "only <...>"),
    "comment inside": ('/* a */ # /* b */ include /* c */ "x"', "include", "only <...>"),
    "digraph": ('%:include "x"', "include", "%:"),
    "trigraph": ('??=include "x"', "include", "trigraph"),
    "trigraph splice": ("int a; // ??/\n", "include", "trigraph"),
    "pragma": ('#pragma include_alias("a", "b")', "include", "only #pragma unroll"),
    "pragma module": ("#pragma clang module import std", "include", "only #pragma"),
    "operator": ('_Pragma("GCC dependency \\"x\\"")', "include", "_Pragma"),
    "module": ("import <vector>;", "include", "modules"),
    "export": ("export module a;", "include", "modules"),
    "paste": ('#define J(a, b) a##b\nJ(as, m)("nop");', "include", "pasting"),
    "asm": ('void f() { asm("nop"); }', "asm", "line 1: asm"),
    "asm2": ('void f() {\n  __asm__ volatile("nop"); }', "asm", "line 2"),
    "asm macro": ('#define A __asm\nvoid f() { A("x"); }', "asm", "__asm"),
    "asm splice": ('void f() { a\\\nsm("x"); }', "asm", "line 1"),
    "raw string": ('const char* a = R"(\n#include "x"\n)";', "include", "raw string"),
    "raw hides": ('auto a = u8R"("; /*)"; asm("x"); // */', "include", "raw string"),
    "open comment": ('int a; /* never\n#include "x"', "include", "never closed"),
    "open string": ('const char* a = "x\n;', "include", "never closed"),
    "open char": ("#if 0\ndon't\n#endif", "include", "never closed"),
    "backslash": ("int \\u0061sm;", "include", "backslash"),
    "big": ("int a;\n" * 50_000, "size", "262144 is the limit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tricks_are_refused_with_rule_and_line(name: str) -> None:
    code, rule, reason = REFUSED[name]
    found = screen_source(candidate(source=code + "\nint last;"))
    assert isinstance(found, ScreenedOut)
    assert (found.rule, bool(re.search(re.escape(reason), found.reason))) == (rule, True), found


def test_tune_values_become_macros_and_are_screened() -> None:
    found = screen_source(candidate(rest='TUNE = {"A": ["asm"]}'))
    assert isinstance(found, ScreenedOut)
    assert found.rule == "asm"


def test_line_numbers_survive_splices_and_comments() -> None:
    found = screen_source(candidate(source="int a; \\\n\n/* \n\n */ int b = \\\n 1;\n asm x;"))
    assert isinstance(found, ScreenedOut)
    assert found.reason.startswith("line 7:")
