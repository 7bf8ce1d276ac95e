"""An open candidate as text: a KernelBench answer with ``class ModelNew``. Read, not run."""

from __future__ import annotations

import ast
import hashlib
import warnings
from typing import get_args

from kforge.open_types import OpenSource
from kforge.types import ParseFailed, Precision

CLASS = "ModelNew"
MAX_BYTES = 4 << 20


def is_open(text: str) -> bool:
    """Whether a file has a ``ModelNew`` at module level, which no sealed candidate has."""
    try:
        return any(_defines(node) for node in _tree(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def parse_open(text: str) -> OpenSource | ParseFailed:
    """Read an open candidate; nothing of it runs."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        return ParseFailed(f"the file has over {MAX_BYTES >> 20} MiB")
    try:
        tree = _tree(text)
    except SyntaxError as error:
        return ParseFailed(f"line {error.lineno}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return ParseFailed(f"it cannot be read as Python: {type(error).__name__}: {error}")
    if not any(_defines(node) for node in tree.body):
        return ParseFailed(
            f"it defines no {CLASS}: an open candidate is a module with class {CLASS}(nn.Module)"
        )
    precision = _precision(tree)
    if isinstance(precision, ParseFailed):
        return precision
    return OpenSource(text, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(), precision)


def _tree(text: str) -> ast.Module:
    with warnings.catch_warnings():
        # An invalid escape such as "\\d" in a docstring is a warning to Python and nothing to us.
        warnings.simplefilter("ignore")
        return ast.parse(text.removeprefix("\ufeff"), "<candidate>")


def _defines(node: ast.stmt) -> bool:
    match node:
        case ast.ClassDef(name=name):
            return name == CLASS
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name == CLASS
        case ast.ImportFrom(names=names):
            return any((alias.asname or alias.name) == CLASS for alias in names)
        case _:
            return False


def _precision(tree: ast.Module) -> Precision | ParseFailed:
    found: Precision = "ieee"
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="PRECISION")], value=ast.Constant(value=value)):
                known = next((word for word in get_args(Precision) if word == value), None)
                if known is None:
                    words = ", ".join(get_args(Precision))
                    return ParseFailed(f"PRECISION is {repr(value)[:60]}; it is one of {words}")
                found = known
            case _:
                continue
    return found
