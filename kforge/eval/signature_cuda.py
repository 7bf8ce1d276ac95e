"""Kernel signatures, read from CUDA device code: ``extern "C" __global__ void name(...)``.

A parameter's type decides how an argument is passed, and the driver checks nothing: it is parsed here, every
argument is matched against it, and the compiled parameter layout must agree afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kforge.eval.device_code import Token, Unreadable, tokenize
from kforge.eval.parameter_types import Unresolved
from kforge.eval.parameter_types_cuda import resolve_cuda
from kforge.eval.signature import (
    Parameter,
    Signature,
    Signatures,
    Skipped,
    aliases_of,
    closing,
    expand_macros,
    in_extern_block,
    split_parameters,
)
from kforge.types import Scalar, ScreenedOut

_FORM = 'extern "C" __global__ void name(const float* __restrict__ x, float* y, int n)'
_ATTRIBUTES_WITH_ARGUMENTS = frozenset(
    [
        "__launch_bounds__",
        "__cluster_dims__",
        "__maxnreg__",
        "__attribute__",
        "__block_size__",
        "__align__",
        "alignas",
    ]
)
# Tokens of a declaration in which its specifiers are looked for.
_LONGEST_HEAD = 64
_HEADING_WORDS = frozenset(["void", "__global__", "static", "inline", "__forceinline__", "__noinline__"])


def parse_cuda_signatures(device_code: str, tune: Mapping[str, Scalar]) -> Signatures | ScreenedOut:
    """Find every kernel of a CUDA source.

    Args:
        device_code: the candidate's ``SOURCE``.
        tune: the variant's choice; its names are macros.

    Returns:
        The kernels by name; under ``skipped`` those that cannot be launched, with the reason.
    """
    try:
        tokens = expand_macros(tokenize(device_code), tune)
    except Unreadable as error:
        return ScreenedOut(str(error), "signature")
    aliases, structs = aliases_of(tokens), _structs(tokens)
    kernels: dict[str, Signature] = {}
    skipped: dict[str, str] = {}
    for index, token in enumerate(tokens):
        if token.text != "__global__":
            continue
        name = f"(line {token.line})"
        try:
            name, parts = _heading(tokens, index)
            parameters = tuple(
                Parameter(" ".join(t.text for t in part), resolve_cuda(part, aliases, structs))
                for part in parts
            )
        except Skipped as reason:
            skipped[str(reason).split(":", 1)[0]] = str(reason)
            continue
        except Unresolved as reason:
            skipped[name] = f"{name}: parameter {reason}"
            continue
        found = Signature(name, None, parameters)
        if kernels.get(name, found) != found:
            return ScreenedOut(f"kernel {name} is declared twice with different parameters", "signature")
        kernels[name] = found
    return Signatures(kernels, skipped, _constants(tokens))


def _constants(tokens: Sequence[Token]) -> frozenset[str]:
    """File-scope names behind ``constexpr``: what stands before an ``=``, ``{`` or ``[`` in that statement.

    A name that some ``__device__`` variable bears too is none: which of the two was compiled cannot be told.
    """
    found: set[str] = set()
    variables: set[str] = set()
    begin = depth = 0
    for index, token in enumerate(tokens):
        if token.text in (";", "{", "}"):
            begin = index + 1
            depth += (token.text == "{") - (token.text == "}")
        elif token.text == "constexpr" and depth == 0:
            found |= _declared(tokens, index + 1, ("=", "{", "["))
        elif token.text == "__device__":
            statement = [t.text for t in tokens[begin : begin + _LONGEST_HEAD]]
            if "constexpr" not in statement[: statement.index(";") if ";" in statement else None]:
                variables |= _declared(tokens, begin, ("=", "{", "[", ";", ","))
    return frozenset(found - variables)


def _declared(tokens: Sequence[Token], at: int, ends: tuple[str, ...]) -> set[str]:
    """Names right before one of ``ends``, up to the statement's end or a function's parenthesis."""
    found: set[str] = set()
    while at < len(tokens) - 1 and tokens[at].text != ";":
        if tokens[at].text in _ATTRIBUTES_WITH_ARGUMENTS and tokens[at + 1].text == "(":
            at = closing(tokens, at + 1)
        elif tokens[at].text == "(":
            break
        elif tokens[at].kind == "name" and tokens[at + 1].text in ends:
            found.add(tokens[at].text)
        at += 1
    return found


def _structs(tokens: Sequence[Token]) -> frozenset[str]:
    """Names of the structs that the source defines."""
    found = set()
    for index, token in enumerate(tokens[:-2]):
        if token.text not in ("struct", "union"):
            continue
        at = index + 1
        while at + 1 < len(tokens) and tokens[at].text in _ATTRIBUTES_WITH_ARGUMENTS:
            at = closing(tokens, at + 1) + 1
        if tokens[at].kind == "name" and tokens[at + 1].text == "{":
            found.add(tokens[at].text)
    # typedef struct { ... } Name;
    depth_start: list[bool] = []
    for index, token in enumerate(tokens):
        if token.text == "{":
            before = [t.text for t in tokens[max(0, index - 3) : index]]
            depth_start.append("typedef" in before and "struct" in before)
        elif token.text == "}" and depth_start:
            named = depth_start.pop()
            if named and index + 1 < len(tokens) and tokens[index + 1].kind == "name":
                found.add(tokens[index + 1].text)
    return frozenset(found)


def _heading(tokens: Sequence[Token], index: int) -> tuple[str, list[Sequence[Token]]]:
    """Name and parameter tokens of the kernel whose ``__global__`` is at ``index``."""
    at = _behind_attributes(tokens, index + 1)
    if at + 1 >= len(tokens) or tokens[at].kind != "name" or tokens[at + 1].text != "(":
        raise Skipped(f"line {tokens[index].line}: write kernels as {_FORM}")
    name, begin = tokens[at].text, _begin(tokens, index)
    before = [token.text for token in tokens[max(0, begin - 2) : begin]]
    if before[-1:] == [">"]:
        raise Skipped(
            f'{name}: a template has no plain name; write one extern "C" __global__ function per instance '
            "that calls a __device__ template"
        )
    if before != ["extern", '"C"'] and not in_extern_block(tokens, begin):
        raise Skipped(f'{name}: declare it extern "C": {_FORM}')
    return name, split_parameters(tokens[at + 2 : closing(tokens, at + 1)])


def _behind_attributes(tokens: Sequence[Token], at: int) -> int:
    """Index of the first token that is no attribute and no part of the return type."""
    while at < len(tokens):
        text = tokens[at].text
        if text in _ATTRIBUTES_WITH_ARGUMENTS:
            at = closing(tokens, at + 1) + 1
        elif text == "[[":
            at = next((n + 1 for n in range(at, len(tokens)) if tokens[n].text == "]]"), len(tokens))
        elif text in _HEADING_WORDS:
            at += 1
        else:
            break
    return at


def _begin(tokens: Sequence[Token], index: int) -> int:
    """Index of the declaration's first token behind ``extern "C"``, attributes included."""
    begin = index
    while begin > 0:
        before = tokens[begin - 1].text
        if before in _HEADING_WORDS:
            begin -= 1
        elif before == ")":
            opening = _opening(tokens, begin - 1)
            if opening < 1 or tokens[opening - 1].text not in _ATTRIBUTES_WITH_ARGUMENTS:
                break
            begin = opening - 1
        else:
            break
    return begin


def _opening(tokens: Sequence[Token], at: int) -> int:
    """Index of the parenthesis that the one at ``at`` closes; -1 if there is none."""
    depth = 0
    for index in range(at, -1, -1):
        depth += (tokens[index].text == ")") - (tokens[index].text == "(")
        if depth == 0:
            return index
    return -1
