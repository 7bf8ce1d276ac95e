"""Candidate files: read from the syntax tree alone, nothing in them is executed."""

from __future__ import annotations

import ast
import hashlib
import keyword
import math
import re
import warnings
from dataclasses import dataclass, field
from typing import get_args

from kforge.types import CandidateSource, Language, ParseFailed, Precision, Scalar

MAX_CHARS = 1_000_000
MAX_TUNE_NAMES = 16
MAX_TUNE_CHOICES = 64
_CONSTANTS = ("LANGUAGE", "SOURCE", "PRECISION", "TUNE")
_ALLOWED = (
    "module level may hold only LANGUAGE, SOURCE, PRECISION, TUNE (each a literal), `import math`, "
    "a docstring and functions (plan, valid, helpers)"
)
_C_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TUNE_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*\Z")
# A TUNE name becomes a macro: one of these would rewrite the language under the device code.
_KEYWORD_TEXT = """
    alignas alignof asm auto bool break case catch char class const constexpr continue decltype default
    delete do double else enum explicit export extern false float for friend goto if inline int long mutable
    namespace new noexcept nullptr operator private protected public register return short signed sizeof
    static struct switch template this throw true try typedef typeid typename union unsigned using virtual
    void volatile while defined include
"""
_C_KEYWORDS = frozenset(_KEYWORD_TEXT.split())


class _Refused(Exception):
    """Carries a reason out of the walk; never leaves this module."""


@dataclass(slots=True)
class _Parts:
    constants: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)


def parse_candidate(text: str) -> CandidateSource | ParseFailed:
    """Split a candidate file into its parts.

    Args:
        text: the whole file, from anyone.

    Returns:
        The candidate with line ends normalised to newlines, or the reason why it is none, worded for
        whoever wrote it.
    """
    if len(text) > MAX_CHARS:
        return ParseFailed(f"the candidate has {len(text)} characters; {MAX_CHARS} is the limit")
    try:
        return _parse(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    except _Refused as refusal:
        return ParseFailed(str(refusal))


def _parse(text: str) -> CandidateSource:
    parts = _parts(_tree(text))
    for name in ("LANGUAGE", "SOURCE"):
        if name not in parts.constants:
            raise _Refused(f"{name} is missing: write {name} = '...' at module level")
    if "plan" not in parts.functions:
        raise _Refused("def plan(k, ...) is missing: it allocates outputs, calls k.launch and returns them")
    if not parts.functions["plan"].args.args and not parts.functions["plan"].args.posonlyargs:
        raise _Refused(f"line {parts.functions['plan'].lineno}: plan must take k first: def plan(k, ...)")
    language = _text(parts, "LANGUAGE")
    if language not in get_args(Language):
        raise _Refused(f"LANGUAGE is {language[:40]!r}; write 'sycl' or 'cuda'")
    precision = _text(parts, "PRECISION") if "PRECISION" in parts.constants else "ieee"
    if precision not in get_args(Precision):
        raise _Refused(f"PRECISION is {precision[:40]!r}; write one of {', '.join(get_args(Precision))}")
    code = _text(parts, "SOURCE")
    if not code.strip():
        raise _Refused("SOURCE is empty: it holds the device code")
    if "\0" in code:
        raise _Refused("SOURCE holds a NUL character")
    try:
        digest = hashlib.sha256(text.encode()).hexdigest()
        code.encode()
    except UnicodeEncodeError:
        raise _Refused("the candidate holds a lone surrogate, which is not text") from None
    tune = _tune(parts.constants["TUNE"]) if "TUNE" in parts.constants else {}
    return CandidateSource(
        text=text,
        hash=digest,
        language=language,  # type: ignore[arg-type]  # checked against the Literal above
        precision=precision,  # type: ignore[arg-type]
        device_code=code,
        tune=tune,
    )


def _tree(text: str) -> ast.Module:
    if "\0" in text:
        raise _Refused("the candidate holds a NUL character")
    try:
        with warnings.catch_warnings():
            # An invalid escape such as "\d" in a docstring is a warning to Python and nothing to us.
            warnings.simplefilter("ignore")
            return ast.parse(text, "<candidate>")
    except SyntaxError as error:
        at = "" if error.lineno is None else f"line {error.lineno}: "
        raise _Refused(f"{at}not valid Python: {error.msg[:200]}") from None
    except (RecursionError, MemoryError):
        raise _Refused("the candidate nests too deeply to be read") from None
    except ValueError as error:
        # Lone surrogates, integers of more digits than int() converts.
        raise _Refused(f"not valid Python: {str(error)[:200]}") from None


def _parts(tree: ast.Module) -> _Parts:
    parts = _Parts()
    for index, node in enumerate(tree.body):
        match node:
            case ast.Expr(value=ast.Constant(value=str())) if index == 0:
                pass
            case ast.Import(names=[ast.alias(name="math", asname=None)]):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _CONSTANTS:
                _once(parts, name, node.lineno)
                parts.constants[name] = value
            case ast.FunctionDef(name=name) if name not in _CONSTANTS:
                _once(parts, name, node.lineno)
                if node.decorator_list:
                    raise _Refused(
                        f"line {node.lineno}: function {name[:60]} has a decorator; write it plainly"
                    )
                parts.functions[name] = node
            case _:
                raise _Refused(f"line {node.lineno}: {_what(node)} is not allowed here; {_ALLOWED}")
    return parts


def _once(parts: _Parts, name: str, line: int) -> None:
    if name in parts.constants or name in parts.functions:
        raise _Refused(f"line {line}: {name[:60]} is defined twice")


def _what(node: ast.stmt) -> str:
    match node:
        case ast.Import(names=names):
            return f"`import {names[0].name[:60]}`"
        case ast.ImportFrom(module=module):
            return f"`from {(module or '.')[:60]} import ...`"
        case ast.Assign(targets=[ast.Name(id=name)]):
            return f"the assignment to {name[:60]} (put constants inside the functions)"
        case ast.ClassDef(name=name):
            return f"class {name[:60]}"
        case _:
            return f"a statement of kind {type(node).__name__}"


def _text(parts: _Parts, name: str) -> str:
    node = parts.constants[name]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise _Refused(
        f"line {node.lineno}: {name} must be one plain string literal (no f-string, no + and no method call)"
    )


def _tune(node: ast.expr) -> dict[str, tuple[Scalar, ...]]:
    form = 'TUNE must be a dict of lists of literals, such as {"BLOCK": [128, 256]}'
    if not isinstance(node, ast.Dict):
        raise _Refused(f"line {node.lineno}: {form}")
    if len(node.keys) > MAX_TUNE_NAMES:
        raise _Refused(f"line {node.lineno}: TUNE has {len(node.keys)} names; {MAX_TUNE_NAMES} is the limit")
    tune: dict[str, tuple[Scalar, ...]] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            raise _Refused(f"line {node.lineno}: {form}")
        name = key.value
        if not _C_NAME.match(name) or name.startswith("__") or len(name) > 64:
            raise _Refused(f"line {key.lineno}: TUNE name {name[:64]!r} is not a plain C identifier")
        if name in _C_KEYWORDS or keyword.iskeyword(name):
            raise _Refused(f"line {key.lineno}: TUNE name {name!r} is a keyword; choose another")
        if name in tune:
            raise _Refused(f"line {key.lineno}: TUNE name {name!r} is written twice")
        tune[name] = _choices(name, value)
    return tune


def _choices(name: str, node: ast.expr) -> tuple[Scalar, ...]:
    if not isinstance(node, ast.List | ast.Tuple) or not node.elts:
        raise _Refused(f"line {node.lineno}: TUNE[{name!r}] must be a non-empty list of literals")
    if len(node.elts) > MAX_TUNE_CHOICES:
        raise _Refused(
            f"line {node.lineno}: TUNE[{name!r}] has {len(node.elts)} choices; the limit is "
            f"{MAX_TUNE_CHOICES}"
        )
    choices = tuple(_choice(name, entry) for entry in node.elts)
    if len({(type(choice), choice) for choice in choices}) != len(choices):
        raise _Refused(f"line {node.lineno}: TUNE[{name!r}] lists a choice twice")
    return choices


def _choice(name: str, node: ast.expr) -> Scalar:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if (
            not isinstance(number, bool)
        ):
            value = -number
        case _:
            raise _Refused(
                f"line {node.lineno}: TUNE[{name!r}] may hold bool, int, float and str literals only"
            )
    match value:
        case float() if not math.isfinite(value):
            raise _Refused(f"line {node.lineno}: TUNE[{name!r}] holds a number that is not finite")
        case int() if abs(value) >= 2**63:
            raise _Refused(f"line {node.lineno}: TUNE[{name!r}] holds an int beyond 64 bits")
        case str() if len(value) > 64 or not _TUNE_TEXT.match(value):
            raise _Refused(f"line {node.lineno}: a str in TUNE[{name!r}] must be a C name such as 'float'")
    return value
