"""Kernel signatures, read from SYCL device code.

A parameter's type decides how an argument is passed. The runtime does not check it (an int sent to a
float parameter silently becomes 1.4e-45), so it is parsed here and every argument is matched against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kforge.eval.device_code import Token, Unreadable, tokenize
from kforge.eval.parameter_types import ParameterType, Unresolved, resolve
from kforge.types import Scalar, ScreenedOut

MAX_TOKENS = 400_000
_PROPERTY = "SYCL_EXT_ONEAPI_FUNCTION_PROPERTY"
_FORM = (
    'extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>)) '
    "void name(const float* x, float* y, int n)"
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One kernel parameter, as written and as resolved."""

    text: str
    type: ParameterType


@dataclass(frozen=True, slots=True)
class Signature:
    """One launchable kernel: ``dimensions`` is the N of ``nd_range_kernel<N>``; None takes any grid."""

    name: str
    dimensions: int | None
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Signatures:
    """What was found: kernels by name, and reasons for those that cannot be launched.

    Attributes:
        constants: names declared ``constexpr``: the compiler may give them memory, which nothing writes.
    """

    kernels: Mapping[str, Signature]
    skipped: Mapping[str, str]
    constants: frozenset[str] = frozenset()


class Skipped(Exception):
    """This kernel cannot be launched; the message says why."""


def parse_signatures(device_code: str, tune: Mapping[str, Scalar]) -> Signatures | ScreenedOut:
    """Find every free-function kernel of a SYCL source.

    Args:
        device_code: the candidate's ``SOURCE``.
        tune: the variant's choice; its names are macros.

    Returns:
        The kernels by name. Those that cannot be launched (templates, not ``extern "C"``, types that cannot
        be passed) are under ``skipped`` with the reason.
    """
    try:
        lines = tokenize(device_code)
        tokens = expand_macros(lines, tune)
    except Unreadable as error:
        return ScreenedOut(str(error), "signature")
    aliases = aliases_of(tokens)
    kernels: dict[str, Signature] = {}
    skipped: dict[str, str] = {}
    for index, token in enumerate(tokens):
        if token.text != _PROPERTY:
            continue
        name = f"(line {token.line})"
        try:
            name, dimensions, parts = _heading(tokens, index)
            found = Signature(name, dimensions, tuple(_parameter(part, aliases) for part in parts))
        except Skipped as reason:
            skipped[str(reason).split(":", 1)[0]] = str(reason)
            continue
        except Unresolved as reason:
            skipped[name] = f"{name}: parameter {reason}"
            continue
        if kernels.get(name, found) != found:
            return ScreenedOut(f"kernel {name} is declared twice with different parameters", "signature")
        kernels[name] = found
    return Signatures(kernels, skipped)


# ------------------------------------------------------------------------------------------- tokens


def expand_macros(lines: Sequence[Sequence[Token]], tune: Mapping[str, Scalar]) -> list[Token]:
    """All tokens outside directives, object-like macros replaced (both branches of an ``#if`` are kept)."""
    macros: dict[str, list[Token]] = {name: _tokens_of(value) for name, value in tune.items()}
    out: list[Token] = []
    for line in lines:
        if line[0].text == "#":
            _directive(line, macros, tune)
            continue
        for token in line:
            _replace(token, macros, frozenset(), out)
    return out


def _tokens_of(value: Scalar) -> list[Token]:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return [token for line in tokenize(text) for token in line]


def _directive(line: Sequence[Token], macros: dict[str, list[Token]], tune: Mapping[str, Scalar]) -> None:
    words = [token.text for token in line[1:3]]
    if len(words) < 2 or words[1] in tune:
        return
    if words[0] == "undef":
        macros.pop(words[1], None)
    # `#define f(x)` has its parenthesis right behind the name; telling that apart needs the spaces, which
    # are gone, so a definition that starts with a parenthesis is left alone: types never do.
    if words[0] == "define" and not (len(line) > 3 and line[3].text == "("):
        macros[words[1]] = list(line[3:])


def _replace(
    token: Token, macros: Mapping[str, list[Token]], hidden: frozenset[str], out: list[Token]
) -> None:
    if token.kind != "name" or token.text not in macros or token.text in hidden or len(hidden) > 32:
        out.append(token)
        if len(out) > MAX_TOKENS:
            raise Unreadable(f"line {token.line}: macros expand to more than {MAX_TOKENS} tokens")
        return
    for inner in macros[token.text]:
        _replace(inner, macros, hidden | {token.text}, out)


def aliases_of(tokens: Sequence[Token]) -> dict[str, Sequence[Token]]:
    """``using A = ...;`` and ``typedef ... A;`` of plain types."""
    found: dict[str, Sequence[Token]] = {}
    for index, token in enumerate(tokens):
        if token.text not in ("using", "typedef"):
            continue
        end = index + 1
        while end < len(tokens) and tokens[end].text != ";" and end - index < 64:
            end += 1
        body = tokens[index + 1 : end]
        if token.text == "using" and len(body) > 2 and body[1].text == "=":
            found[body[0].text] = body[2:]
        elif token.text == "typedef" and len(body) > 1 and body[-1].kind == "name":
            found[body[-1].text] = body[:-1]
    return found


# ------------------------------------------------------------------------------------------ headings


def _heading(tokens: Sequence[Token], index: int) -> tuple[str, int, list[Sequence[Token]]]:
    """Name, dimensions and parameter tokens of the kernel whose property macro is at ``index``."""
    end = closing(tokens, index + 1)
    at = _behind_attributes(tokens, end + 1)
    if [token.text for token in tokens[at : at + 1]] != ["void"] or at + 2 >= len(tokens):
        raise Skipped(f"line {tokens[index].line}: write kernels as {_FORM}")
    name = tokens[at + 1].text
    if tokens[at + 2].text != "(":
        raise Skipped(f"{name}: write kernels as {_FORM}")
    if index >= 1 and tokens[index - 1].text == ">":
        raise Skipped(f'{name}: a template has no plain name; write one extern "C" function per instance')
    before = [token.text for token in tokens[max(0, index - 2) : index]]
    if before != ["extern", '"C"'] and not in_extern_block(tokens, index):
        raise Skipped(f'{name}: declare it extern "C" right before {_PROPERTY}')
    dimensions = _dimensions(tokens[index + 1 : end + 1], name)
    close = closing(tokens, at + 2)
    return name, dimensions, split_parameters(tokens[at + 3 : close])


def _behind_attributes(tokens: Sequence[Token], at: int) -> int:
    while at < len(tokens) and tokens[at].text == "[[":
        while at < len(tokens) and tokens[at].text != "]]":
            at += 1
        at += 1
    return at


def closing(tokens: Sequence[Token], at: int) -> int:
    """Index of the parenthesis that closes the one at ``at``; raises ``Skipped``."""
    depth = 0
    for index in range(at, len(tokens)):
        depth += (tokens[index].text == "(") - (tokens[index].text == ")")
        if depth == 0:
            if index == at:
                break
            return index
    raise Skipped(
        f"line {tokens[min(at, len(tokens) - 1)].line}: an opening parenthesis is expected and closed"
    )


def in_extern_block(tokens: Sequence[Token], index: int) -> bool:
    """Whether an ``extern "C" {`` is open at ``index``."""
    blocks: list[bool] = []
    for at in range(index):
        if tokens[at].text == "{":
            blocks.append(at >= 2 and tokens[at - 1].text == '"C"' and tokens[at - 2].text == "extern")
        elif tokens[at].text == "}" and blocks:
            blocks.pop()
    return any(blocks)


def _dimensions(tokens: Sequence[Token], name: str) -> int:
    texts = [token.text for token in tokens]
    if "nd_range_kernel" in texts:
        at = texts.index("nd_range_kernel")
        if texts[at + 1 : at + 2] == ["<"] and texts[at + 2] in ("1", "2", "3") and texts[at + 3] == ">":
            return int(texts[at + 2])
    raise Skipped(f"{name}: only nd_range_kernel<1>, <2> or <3> can be launched")


def split_parameters(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """Parameters of a list, at commas outside brackets; default arguments cut off."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in ("<", "(", "[", "{")) - (token.text in (">", ")", "]", "}"))
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) == 1 and [token.text for token in parts[0]] in ([], ["void"]):
        return []
    return [_plain(part) for part in parts]


def _plain(part: Sequence[Token]) -> Sequence[Token]:
    at = _behind_attributes(part, 0)
    texts = [token.text for token in part]
    return part[at : texts.index("=")] if "=" in texts else part[at:]


def _parameter(part: Sequence[Token], aliases: Mapping[str, Sequence[Token]]) -> Parameter:
    return Parameter(" ".join(token.text for token in part), resolve(part, aliases))
