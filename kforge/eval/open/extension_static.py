"""Finds the extension calls of a candidate in its syntax tree, without running anything.

Nearly every published candidate calls ``load_inline`` once, with texts assigned once: those are read here in
milliseconds. What cannot be read (texts put together by code, wrappers, other names) is left to the recorder.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kforge.eval.open.extension_calls import ExtensionCall, UnusableCall, inline_call

_BUILDERS = ("load_inline", "load")
_MODULE = "torch.utils.cpp_extension"


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call read from the tree; ``certain`` when the module level makes it whatever happens."""

    call: ExtensionCall
    certain: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What the tree shows.

    Attributes:
        calls: those whose arguments are all constants, in source order.
        complete: there is no mention of an extension beside these calls.
    """

    calls: tuple[FoundCall, ...]
    complete: bool


class _Unknown(Exception):
    """No error: the value is only known at run time."""


def read_calls(text: str) -> Reading | UnusableCall:
    """The extension calls that can be read off ``text``.

    A file that does not parse has none, and is complete: running it would not get anywhere either.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Reading((), complete=True)
    if "cpp_extension" not in text:
        return Reading((), complete=True)
    constants = _constants(tree)
    certain = {id(node) for statement in tree.body for node in _straight(statement)}
    found: list[FoundCall] = []
    complete = True
    for node in _mentions(tree):
        if not isinstance(node, ast.Call) or _name(node.func) != "load_inline":
            complete = False
            continue
        try:
            arguments = [_value(argument, constants) for argument in node.args]
            named = {_keyword(k): _value(k.value, constants) for k in node.keywords}
        except _Unknown:
            complete = False
            continue
        try:
            found.append(FoundCall(inline_call(*arguments, **named), id(node) in certain))
        except (UnusableCall, TypeError) as error:
            if id(node) in certain:
                return UnusableCall(f"line {node.lineno}: {error}")
            complete = False
    return Reading(tuple(found), complete)


def _mentions(tree: ast.Module) -> Iterator[ast.AST]:
    """Calls of the builders, and any other use of their names, or of their module by another name."""
    called = {
        id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call) and _builds(node.func)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name() | ast.Attribute() if id(node) in called:
                yield called[id(node)]
            case ast.Name(id=name) if name in _BUILDERS:
                yield node
            case ast.Attribute() if _builds(node):
                yield node
            case ast.ImportFrom(module=module, names=names) if module == _MODULE:
                if any(
                    alias.name not in _BUILDERS or alias.asname not in (None, alias.name) for alias in names
                ):
                    yield node
            case ast.Constant(value=str(value)) if "cpp_extension" in value and len(value) < 200:
                yield node  # import_module("torch.utils.cpp_extension")
            case _:
                pass


def _builds(node: ast.expr) -> bool:
    """``load_inline`` of anything, ``load`` alone or of ``cpp_extension``: not ``torch.load``."""
    match node:
        case ast.Name(id=name):
            return name in _BUILDERS
        case ast.Attribute(value=owner, attr=name):
            return name == "load_inline" or (name == "load" and _name(owner) == "cpp_extension")
        case _:
            return False


def _name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None


def _straight(statement: ast.stmt) -> Iterator[ast.AST]:
    """Expressions that run whenever the module is loaded: no functions, classes, branches or loops."""
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
        pending: list[ast.AST] = [statement]
        while pending:
            node = pending.pop()
            yield node
            if not isinstance(node, ast.Lambda | ast.IfExp | ast.BoolOp | ast.GeneratorExp | ast.ListComp):
                pending.extend(ast.iter_child_nodes(node))


def _constants(tree: ast.Module) -> Mapping[str, ast.expr]:  # noqa: C901 - a case for each way to bind a name
    """Names bound exactly once in the whole file, by a plain assignment."""
    bound: dict[str, int] = {}
    assigned: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        names: list[str] = []
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names = [name]
            case ast.arg(arg=name):
                names = [name]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names = [(alias.asname or alias.name).split(".")[0] for alias in aliases]
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                names = [name]
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                names = [name, name]
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in _MUTATORS:
                names = [name, name]
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                assigned[name] = value
            case _:
                pass
        for name in names:
            bound[name] = bound.get(name, 0) + 1
    return {name: value for name, value in assigned.items() if bound.get(name) == 1}


_MUTATORS = (
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "clear",
    "update",
    "setdefault",
    "sort",
    "reverse",
)


def _keyword(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise _Unknown
    return keyword.arg


def _value(  # noqa: C901 - a case for each form
    node: ast.expr, constants: Mapping[str, ast.expr], depth: int = 0
) -> object:
    """The value of an expression of literals, names bound once, ``+``, f-strings and ``strip``."""
    if depth > 50:
        raise _Unknown
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in constants:
            return _value(constants[name], constants, depth + 1)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, constants, depth + 1) for item in items]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {
                str(_value(k, constants, depth + 1)): _value(v, constants, depth + 1) for k, v in pairs if k
            }
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            a, b = _value(left, constants, depth + 1), _value(right, constants, depth + 1)
            if isinstance(a, str) and isinstance(b, str):
                return a + b
            if isinstance(a, list) and isinstance(b, list):
                return a + b
        case ast.JoinedStr(values=parts):
            return "".join(_part(part, constants, depth + 1) for part in parts)
        case ast.Call(func=ast.Attribute(value=inner, attr="strip"), args=[], keywords=[]):
            stripped = _value(inner, constants, depth + 1)
            if isinstance(stripped, str):
                return stripped.strip()
        case _:
            pass
    raise _Unknown


def _part(part: ast.expr, constants: Mapping[str, ast.expr], depth: int) -> str:
    match part:
        case ast.Constant(value=str(value)):
            return value
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            known = _value(value, constants, depth)
            if isinstance(known, str | int) and not isinstance(known, bool):
                return str(known)
        case _:
            pass
    raise _Unknown
