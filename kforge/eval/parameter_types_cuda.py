"""The CUDA types that a kernel parameter may have, resolved from its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kforge.eval.device_code import Token
from kforge.eval.parameter_types import (
    ArrayType,
    ParameterType,
    PointerType,
    ScalarParameter,
    StructType,
    TensorMapType,
    Unresolved,
    expand,
    scalar_of,
    unqualified,
    without_name,
)
from kforge.eval.plan import ScalarType

_QUALIFIERS = frozenset(
    [
        "volatile",
        "typename",
        "struct",
        "class",
        "__restrict__",
        "__restrict",
        "restrict",
        "__grid_constant__",
        "register",
    ]
)
_HALVES: Mapping[str, ScalarType] = {
    "__half": "f16", "half": "f16", "__nv_bfloat16": "bf16", "nv_bfloat16": "bf16",
    "__nv_fp8_e4m3": "u8", "__nv_fp8_e5m2": "u8",
}  # fmt: skip
_BASES: Mapping[str, ScalarType] = {
    "char": "i8", "uchar": "u8", "short": "i16", "ushort": "u16", "int": "i32", "uint": "u32",
    "long": "i64", "ulong": "u64", "longlong": "i64", "ulonglong": "u64", "float": "f32", "double": "f64",
    "half": "f16", "__half": "f16", "__nv_bfloat16": "bf16", "nv_bfloat16": "bf16",
}  # fmt: skip
_ANYTHING = frozenset({"void", "char", "byte"})
_TENSOR_MAPS = frozenset({"CUtensorMap", "CUtensorMap_st"})


def resolve_cuda(
    tokens: Sequence[Token], aliases: Mapping[str, Sequence[Token]], structs: frozenset[str]
) -> ParameterType:
    """The type of one parameter, given its tokens without default argument.

    Args:
        tokens: of the declaration, name included.
        aliases: ``using`` and ``typedef`` of plain types.
        structs: names that the source defines.

    Raises:
        Unresolved: not in a form that can be passed.
    """
    words = [token.text for token in tokens if token.text not in _QUALIFIERS]
    shown = " ".join(token.text for token in tokens)
    if "&" in words or "[" in words or "..." in words:
        raise Unresolved(f"`{shown}`: pass plain pointers, scalars, structs and tensor maps only")
    stars = words.count("*")
    if stars == 0:
        return _by_value(words, aliases, structs, shown)
    pointee, inner_const = expand([w for w in words[: words.index("*")] if w != "const"], aliases)
    const = inner_const or "const" in words[: words.index("*")]
    plain = unqualified(pointee)
    if stars == 2:
        between = words[words.index("*") + 1 :]
        if "const" not in between[: between.index("*")]:
            raise Unresolved(f"`{shown}`: the array of pointers is read-only; write `T* const*`")
        return ArrayType("pointer", _pointer(plain, const, structs, shown))
    if stars > 2:
        raise Unresolved(f"`{shown}`: more than two levels of pointers")
    if len(plain) == 1 and plain[0] in _TENSOR_MAPS:
        return ArrayType("tensor_map", None)
    return _pointer(plain, const, structs, shown)


def _by_value(
    words: list[str], aliases: Mapping[str, Sequence[Token]], structs: frozenset[str], shown: str
) -> ParameterType:
    base, _ = expand(without_name([w for w in words if w != "const"]), aliases)
    if "*" in base:
        at = base.index("*")
        return _pointer(
            unqualified([w for w in base[:at] if w != "const"]), "const" in base[:at], structs, shown
        )
    plain = unqualified(base)
    if len(plain) == 1:
        if plain[0] in _TENSOR_MAPS:
            return TensorMapType()
        if plain[0] in structs:
            return StructType(plain[0])
        if plain[0] in _HALVES:
            return ScalarParameter(_HALVES[plain[0]])
    scalar = scalar_of(base)
    if scalar is None:
        raise Unresolved(
            f"`{shown}`: write a builtin type such as float or long long, a struct defined in SOURCE, or "
            "const __grid_constant__ CUtensorMap"
        )
    return ScalarParameter(scalar)


def _pointer(plain: Sequence[str], const: bool, structs: frozenset[str], shown: str) -> PointerType:
    if len(plain) == 1 and (plain[0] in _ANYTHING or plain[0] in structs):
        return PointerType(None, 1, const)
    if len(plain) == 1 and plain[0] in _HALVES:
        return PointerType(_HALVES[plain[0]], 1, const)
    scalar = scalar_of(list(plain))
    if scalar is not None:
        return PointerType(scalar, 1, const)
    if len(plain) == 1:
        base = plain[0].rstrip("0123456789")
        digits = plain[0][len(base) :]
        # __nv_bfloat162 is a pair of __nv_bfloat16, whose own name ends in digits.
        for name, width in ((base, digits), (plain[0][:-1], plain[0][-1:])):
            if name in _BASES and width in ("1", "2", "3", "4"):
                return PointerType(_BASES[name], int(width), const)
    raise Unresolved(
        f"`{shown}`: the element type must be a builtin one, __half, __nv_bfloat16 or a vector of one"
    )
