"""The C++ types that a kernel parameter may have, and what a plan may pass for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from kforge.eval.device_code import Token
from kforge.eval.plan import ScalarType
from kforge.types import DType, Language

# LP64, as every SYCL device and its host use. `char` and `void` pointers take any tensor.
SCALARS: Mapping[str, ScalarType] = {
    "bool": "b8", "char": "i8", "signed char": "i8", "unsigned char": "u8", "int8_t": "i8", "uint8_t": "u8",
    "short": "i16", "unsigned short": "u16", "int16_t": "i16", "uint16_t": "u16",
    "int": "i32", "signed": "i32", "unsigned": "u32", "int32_t": "i32", "uint32_t": "u32",
    "long": "i64", "unsigned long": "u64", "long long": "i64", "unsigned long long": "u64",
    "int64_t": "i64", "uint64_t": "u64", "size_t": "u64", "ptrdiff_t": "i64", "intptr_t": "i64",
    "float": "f32", "double": "f64", "half": "f16", "bfloat16": "bf16",
}  # fmt: skip
ELEMENTS: Mapping[DType, frozenset[ScalarType]] = {
    "float64": frozenset({"f64"}), "float32": frozenset({"f32"}), "float16": frozenset({"f16"}),
    "bfloat16": frozenset({"bf16"}), "int64": frozenset({"i64"}), "int32": frozenset({"i32"}),
    "int16": frozenset({"i16"}), "int8": frozenset({"i8"}), "uint8": frozenset({"u8"}),
    "bool": frozenset({"b8", "u8"}),
}  # fmt: skip
SCALAR_BYTES: Mapping[ScalarType, int] = {
    "i8": 1, "u8": 1, "b8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2,
    "i32": 4, "u32": 4, "f32": 4, "i64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_ANYTHING = frozenset({"void", "char", "byte"})
_QUALIFIERS = frozenset(
    ["const", "volatile", "typename", "struct", "class", "__restrict__", "__restrict", "restrict", "register"]
)
_WORDS = frozenset(["unsigned", "signed", "short", "long", "int", "char", "bool", "float", "double", "void"])
_VECTOR_BASES = {
    "char": "i8", "uchar": "u8", "short": "i16", "ushort": "u16", "int": "i32", "uint": "u32",
    "long": "i64", "ulong": "u64", "float": "f32", "double": "f64", "half": "f16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PointerType:
    """``element`` None takes any tensor; ``width`` > 1 is a vector of that many elements."""

    element: ScalarType | None
    width: int
    const: bool


@dataclass(frozen=True, slots=True)
class ScalarParameter:
    """A number or truth value by value."""

    type: ScalarType


@dataclass(frozen=True, slots=True)
class LocalType:
    """Work-group local memory."""

    form: Literal["local_accessor", "work_group_memory"]
    element: ScalarType


@dataclass(frozen=True, slots=True)
class TensorMapType:
    """A TMA descriptor by value: ``const __grid_constant__ CUtensorMap`` (CUDA)."""


@dataclass(frozen=True, slots=True)
class StructType:
    """A struct that the source defines, by value (CUDA); its size is known once it is compiled."""

    name: str


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A pointer to an array in device memory, of pointers or of tensor maps (CUDA).

    Attributes:
        element: what the pointers point to; None for tensor maps.
    """

    form: Literal["pointer", "tensor_map"]
    element: PointerType | None


ParameterType = PointerType | ScalarParameter | LocalType | TensorMapType | StructType | ArrayType


# CUDA loads at most this many bytes at once, so wider types need no more alignment.
_WIDEST_LOAD_BYTES = 16


def alignment_bytes(kind: PointerType, language: Language) -> int:
    """Alignment that loads through a vector pointer need; 1 where any address does."""
    if kind.element is None or kind.width == 1:
        return 1
    size = SCALAR_BYTES[kind.element]
    match language:
        case "sycl":
            return size * (4 if kind.width == 3 else kind.width)  # a vec of three is laid out as four
        case "cuda":
            return size if kind.width == 3 else min(_WIDEST_LOAD_BYTES, size * kind.width)
        case _:
            assert_never(language)


class Unresolved(Exception):
    """The type is none that kforge can pass; the message says which and what to write."""


def resolve(tokens: Sequence[Token], aliases: Mapping[str, Sequence[Token]]) -> ParameterType:
    """The type of one parameter, given its tokens without default argument.

    Args:
        tokens: type and, if there is one, name.
        aliases: simple ``using`` and ``typedef`` names.

    Raises:
        Unresolved: no builtin type, or not in a form that can be passed.
    """
    words = [token.text for token in tokens]
    stars, outer = _outer(words)
    if stars > 1 or "&" in outer or "[" in outer or "..." in outer:
        raise Unresolved(f"`{' '.join(words)}`: pass plain pointers, scalars and local memory only")
    if stars == 1:
        # The pointee: `const` on either side of the element type, before the star.
        before = words[: _star(words)]
        pointee, inner_const = expand([w for w in before if w not in _QUALIFIERS], aliases)
        return _pointer(pointee, "const" in before or inner_const, words)
    base, _ = expand(without_name([w for w in words if w not in _QUALIFIERS]), aliases)
    if "*" in base:
        at = base.index("*")
        return _pointer([w for w in base[:at] if w not in _QUALIFIERS], "const" in base[:at], words)
    local = _local(base, aliases)
    if local is not None:
        return local
    scalar = scalar_of(base)
    if scalar is None:
        raise Unresolved(f"`{' '.join(words)}`: write a builtin type such as float, int or int64_t")
    return ScalarParameter(scalar)


def _outer(words: Sequence[str]) -> tuple[int, list[str]]:
    depth, outer = 0, []
    for word in words:
        depth += (word == "<") - (word == ">")
        if depth == 0:
            outer.append(word)
    return outer.count("*"), outer


def _star(words: Sequence[str]) -> int:
    depth = 0
    for index, word in enumerate(words):
        depth += (word == "<") - (word == ">")
        if depth == 0 and word == "*":
            return index
    return len(words)


def without_name(words: list[str]) -> list[str]:
    """Drop the parameter's name: a last word that follows a complete type."""
    if len(words) < 2 or words[-1] in _WORDS or not (words[-1][0].isalpha() or words[-1][0] == "_"):
        return words
    return words[:-1] if words[-2] != "::" else words


def expand(words: list[str], aliases: Mapping[str, Sequence[Token]]) -> tuple[list[str], bool]:
    """A single alias word replaced by what it stands for, and whether that was const."""
    const = False
    for _ in range(16):
        if len(words) != 1 or words[0] not in aliases:
            break
        words = [token.text for token in aliases[words[0]]]
        const = const or ("const" in words and "*" not in words)
        if "*" not in words:
            words = [word for word in words if word not in _QUALIFIERS]
    return words, const


def unqualified(words: Sequence[str]) -> list[str]:
    """Without namespaces: ``sycl :: half`` is ``half``."""
    out: list[str] = []
    for index, word in enumerate(words):
        if word == "::" or (index + 1 < len(words) and words[index + 1] == "::"):
            continue
        out.append(word)
    return out


def scalar_of(words: Sequence[str]) -> ScalarType | None:
    """The scalar type that these words name, None for none."""
    plain = unqualified(words)
    if not plain:
        return None
    if len(plain) > 1 and all(word in _WORDS for word in plain):
        order = (
            sorted(plain, key=["signed", "unsigned", "long", "short", "int", "char"].index)
            if set(plain) <= {"signed", "unsigned", "long", "short", "int", "char"}
            else plain
        )
        names = [word for word in order if word != "int" and (word != "signed" or "char" in order)]
        return SCALARS.get(" ".join(names or ["int"]))
    return SCALARS.get(plain[0]) if len(plain) == 1 else None


def _pointer(pointee: Sequence[str], const: bool, words: Sequence[str]) -> PointerType:
    plain = unqualified(pointee)
    if len(plain) == 1 and plain[0] in _ANYTHING:
        return PointerType(None, 1, const)
    scalar = scalar_of(pointee)
    if scalar is not None:
        return PointerType(scalar, 1, const)
    vector = _vector(plain)
    if vector is None:
        raise Unresolved(
            f"`{' '.join(words)}`: the element type must be a builtin one, sycl::half, bfloat16 or a "
            f"sycl::vec of it"
        )
    return PointerType(vector[0], vector[1], const)


def _vector(plain: Sequence[str]) -> tuple[ScalarType, int] | None:
    """``vec<float, 4>`` and ``float4``."""
    if len(plain) >= 6 and plain[0] == "vec" and plain[1] == "<" and plain[-1] == ">" and plain[-3] == ",":
        scalar = scalar_of(plain[2:-3])
        width = int(plain[-2]) if plain[-2] in ("2", "3", "4", "8", "16") else 0
        return (scalar, width) if scalar is not None and width else None
    if len(plain) == 1:
        base = plain[0].rstrip("0123456789")
        digits = plain[0][len(base) :]
        if base in _VECTOR_BASES and digits in ("2", "3", "4", "8", "16"):
            return _VECTOR_BASES[base], int(digits)  # type: ignore[return-value]  # values are ScalarTypes
    return None


def _local(words: list[str], aliases: Mapping[str, Sequence[Token]]) -> LocalType | None:
    plain = unqualified(words)
    if len(plain) < 4 or plain[0] not in ("local_accessor", "work_group_memory"):
        return None
    inner = plain[2:-1]
    if plain[0] == "local_accessor":
        if "," in inner:
            cut = inner.index(",")
            if inner[cut + 1 :] != ["1"]:
                raise Unresolved(f"`{' '.join(words)}`: local_accessor must have one dimension")
            inner = inner[:cut]
        form: Literal["local_accessor", "work_group_memory"] = "local_accessor"
    else:
        if inner[-2:] != ["[", "]"]:
            raise Unresolved(
                f"`{' '.join(words)}`: write work_group_memory<T[]>, its size comes from k.local"
            )
        inner, form = inner[:-2], "work_group_memory"
    scalar = scalar_of(expand(inner, aliases)[0])
    if scalar is None:
        raise Unresolved(f"`{' '.join(words)}`: local memory must hold a builtin scalar type")
    return LocalType(form, scalar)
