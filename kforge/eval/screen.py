"""What device code may contain, decided from its tokens before any compiler sees it.

The compiler runs with the build's rights to read files, and its messages go back to whoever wrote the
candidate: an include of a secret would be printed. So includes come from a list, and everything that
could hide an include or an assembler line from this screen is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kforge.eval.device_code import Token, Unreadable, tokenize
from kforge.types import CandidateSource, Language, ScreenedOut

MAX_DEVICE_CODE_BYTES = 256 * 1024
_STANDARD = (
    "algorithm array bit cfloat climits cmath concepts cstddef cstdint cstring functional initializer_list "
    "limits math.h numeric stddef.h stdint.h tuple type_traits utility"
)
STANDARD_HEADERS = frozenset(_STANDARD.split())
_CUDA = (
    "cuda_fp16.h cuda_bf16.h cuda_fp8.h cuda_fp6.h cuda_fp4.h mma.h cooperative_groups.h cuda_pipeline.h "
    "cuda_pipeline_primitives.h cuda_awbarrier.h cuda_awbarrier_primitives.h cuda.h cuda_runtime.h "
    "math_constants.h vector_types.h vector_functions.h device_functions.h sm_61_intrinsics.h cuComplex.h "
    "stdint.h stddef.h cstdint cstddef type_traits limits"
)
CUDA_HEADERS = frozenset(_CUDA.split())
_SYCL_HEADER = re.compile(r"(sycl|CL)/[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*\.hpp\Z")
_CUDA_HEADER = re.compile(r"(cuda|cub|cooperative_groups)/[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*(\.h|\.hpp|\.cuh)?\Z")
_DIRECTIVES = frozenset(
    ["define", "undef", "if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif", "error"]
)
# What PTX could reach beside the device: files that the assembler includes.
_PTX_DIRECTIVE = re.compile(r"\.(file|include|incbin|section|extern)\b")
# What declares something beside the kernel, at the start of a statement (``ld.global`` is an instruction).
_PTX_DECLARATION = re.compile(
    r"(?:\A|[;{}\n]|\\n)\s*\.(global|const|func|entry|visible|weak|common|alias|version|target)\b"
)
# Names whose objects pass as the compiler's or a library's own in ``facts_cuda``.
_LIBRARY_NAMES = frozenset(["cuda", "cub", "thrust", "cooperative_groups", "nv", "__cccl_internal"])
_COMPILER_NAME = re.compile(r"(_Z|__unnamed|__cudart_|__cr_|_param|__constant(?!__\Z))")
_COMPILER_WORD = re.compile(rf"(?<!\w){_COMPILER_NAME.pattern}")
_SCOPES = frozenset(["namespace", "struct", "class", "union", "enum"])
_PRAGMA = re.compile(r"(once|unroll\b.*|nounroll|clang loop\b.*|STDC\b.*|clang fp\b.*)\Z")
_FILE_PROBES = frozenset(["__has_include", "__has_include_next", "__has_embed", "include_next", "embed"])
_ASSEMBLER = frozenset(["asm", "__asm", "__asm__"])
_MODULES = frozenset(["import", "module", "export"])


@dataclass(frozen=True, slots=True)
class Rules:
    """What one language's device code may contain.

    Attributes:
        headers: exact names that may be included.
        header_form: further names.
        shown_headers: how messages call them.
        assembler: whether inline assembler is accepted. On a SYCL CPU device it is host code, a system call
            away from everything; in CUDA it is PTX, without which there are no tensor memory copies.
    """

    headers: frozenset[str]
    header_form: re.Pattern[str]
    shown_headers: str
    assembler: bool


RULES: Mapping[Language, Rules] = {
    "sycl": Rules(STANDARD_HEADERS, _SYCL_HEADER, "<sycl/...>", assembler=False),
    "cuda": Rules(
        CUDA_HEADERS, _CUDA_HEADER, "<cuda/...>, <cub/...>, <cooperative_groups/...>", assembler=True
    ),
}


def screen_source(candidate: CandidateSource) -> ScreenedOut | None:
    """Why this candidate's device code is not compiled at all, or None.

    Args:
        candidate: a parsed candidate; its ``TUNE`` strings are screened too, since they become macros.
    """
    rules = RULES[candidate.language]
    size = len(candidate.device_code.encode())
    if size > MAX_DEVICE_CODE_BYTES:
        return ScreenedOut(f"SOURCE has {size} bytes; {MAX_DEVICE_CODE_BYTES} is the limit", "size")
    refused = _screen_tune(candidate, rules)
    if refused is not None:
        return refused
    try:
        lines = tokenize(candidate.device_code)
    except Unreadable as error:
        return ScreenedOut(str(error), "include")
    for line in lines:
        refused = _screen_line(line, rules)
        if refused is not None:
            return refused
    if not rules.assembler:
        return None
    return _screen_names(lines) or _screen_assembler(lines)


def _screen_assembler(lines: Sequence[Sequence[Token]]) -> ScreenedOut | None:
    """Refuse assembler that declares things beside its kernel, over strings that stand side by side."""
    tokens = [token for line in lines for token in line]
    text, first = "", None
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.kind != "text":
            continue
        text, first = text + token.text.strip('"'), first or token
        if after is not None and after.kind == "text":
            continue
        found = _PTX_DECLARATION.search(text) or _COMPILER_WORD.search(text)
        if found:
            return ScreenedOut(f"line {first.line}: {found.group().strip()[:40]} in a string", "asm")
        depth = 0
        for letter in text:
            depth += (letter == "{") - (letter == "}")
            if depth < 0:
                return ScreenedOut(f"line {first.line}: a string closes a brace that it did not open", "asm")
        text, first = "", None
    return None


def _screen_tune(candidate: CandidateSource, rules: Rules) -> ScreenedOut | None:
    for name, choices in candidate.tune.items():
        for choice in choices:
            if not isinstance(choice, str):
                continue
            if not rules.assembler and _ASSEMBLER.intersection(choice.split("::")):
                return ScreenedOut(f"TUNE[{name!r}] holds {choice!r}: no inline assembler", "asm")
            if rules.assembler and _hides(choice):
                return ScreenedOut(f"TUNE[{name!r}] holds {choice!r}, which is not yours", "device_code")
    return None


def _hides(name: str) -> bool:
    return name in _LIBRARY_NAMES or name == "namespace" or _COMPILER_NAME.match(name) is not None


def _screen_names(lines: Sequence[Sequence[Token]]) -> ScreenedOut | None:
    """Refuse what could give a lasting variable the name of a library's constant."""
    tokens = [token for line in lines for token in line]
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.kind in ("name", "text") and _COMPILER_NAME.match(token.text.lstrip('"')):
            return _name(token, f"{token.text[:40]}: such names are the compiler's")
        if token.text == "namespace" and after is not None and after.text in ("[[", "__attribute__"):
            return _name(token, "write namespaces without attributes")
        if before is None or token.kind != "name" or before.text not in _SCOPES:
            continue
        if token.text in _LIBRARY_NAMES and (after is None or after.text in ("{", ":", "::")):
            return _name(token, f"{before.text} {token.text} is a library's; put your code elsewhere")
        if before.text == "namespace" and after is not None and after.text == "(":
            return _name(token, "write the names of namespaces out, without macros")
    for line in lines:
        body = [token.text for token in line[3:]] if [t.text for t in line[:2]] == ["#", "define"] else []
        for text, follows in zip(body, [*body[1:], ""], strict=False):
            if text == "namespace" or (text in _LIBRARY_NAMES and follows != "::"):
                return _name(line[0], f"a macro that expands to {text} hides a namespace; write it out")
    return None


def _name(token: Token, reason: str) -> ScreenedOut:
    return ScreenedOut(f"line {token.line}: {reason}", "device_code")


def _screen_line(line: Sequence[Token], rules: Rules) -> ScreenedOut | None:
    first = line[0]
    for token in line:
        if token.kind == "text" and rules.assembler and (found := _PTX_DIRECTIVE.search(token.text)):
            return ScreenedOut(f"line {token.line}: the directive {found.group()} in a string", "asm")
        if token.kind == "name" and token.text in _ASSEMBLER and not rules.assembler:
            return ScreenedOut(f"line {token.line}: {token.text}: inline assembler is not accepted", "asm")
        if token.kind == "name" and token.text in _FILE_PROBES:
            return _include(token, f"{token.text} looks at files; include a listed header instead")
        if token.text in ("##", "%:%:", "%:"):
            return _include(
                token, f"{token.text}: token pasting and digraphs are not accepted; write names out"
            )
        if token.text == "_Pragma":
            return _include(token, "_Pragma(...) is not accepted; write #pragma unroll")
    if first.text == "#":
        return _screen_directive(line, rules)
    if first.text in _MODULES:
        return _include(first, f"{first.text}: C++ modules are not accepted; use #include <sycl/sycl.hpp>")
    return None


def _screen_directive(line: Sequence[Token], rules: Rules) -> ScreenedOut | None:
    if len(line) == 1:
        return None
    directive, rest = line[1], line[2:]
    if directive.text in _DIRECTIVES:
        return None
    if directive.text == "include":
        header = "".join(token.text for token in rest)
        name = header[1:-1]
        if not (header.startswith("<") and header.endswith(">")):
            return _include(directive, f"#include {header[:80]}: only <...> headers can be included")
        if name in rules.headers or rules.header_form.match(name):
            return None
        listed = ", ".join(sorted(rules.headers))
        return _include(
            directive, f"#include {header[:80]} is not on the list: {rules.shown_headers}, {listed}"
        )
    if directive.text == "pragma":
        if _PRAGMA.match(" ".join(token.text for token in rest)):
            return None
        return _include(
            directive, "only #pragma unroll, nounroll, once, clang loop, clang fp and STDC are accepted"
        )
    return _include(directive, f"#{directive.text[:40]} is not accepted in device code")


def _include(token: Token, reason: str) -> ScreenedOut:
    return ScreenedOut(f"line {token.line}: {reason}", "include")
