"""Tensors without values: shape, type, strides and the storage they look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

ELEMENT_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
_ALIASES = {
    "f64": "float64", "double": "float64", "fp64": "float64",
    "f32": "float32", "float": "float32", "fp32": "float32",
    "f16": "float16", "half": "float16", "fp16": "float16", "bf16": "bfloat16",
    "i64": "int64", "long": "int64", "i32": "int32", "int": "int32", "i16": "int16", "short": "int16",
    "i8": "int8", "u8": "uint8", "b8": "bool",
}  # fmt: skip
MAX_NDIM = 12
MAX_INT = 2**63 - 1
FLOATING = frozenset({"float64", "float32", "float16", "bfloat16"})


class PlanError(Exception):
    """The plan asked for something that the contract does not offer; the message is for its author."""


def element_type(dtype: object) -> str:
    """The canonical name of ``dtype``: ``"float32"`` for ``"f32"``, ``"float"`` or ``"torch.float32"``."""
    text = dtype.removeprefix("torch.") if isinstance(dtype, str) else ""
    name = _ALIASES.get(text, text)
    if name not in ELEMENT_BYTES:
        raise PlanError(f"{show(dtype)} is not an element type; use one of {', '.join(ELEMENT_BYTES)}")
    return name


def integer(value: object, what: str, low: int = 0, high: int = MAX_INT) -> int:
    """``value`` as an int within [low, high]; a bool or a float is refused."""
    if isinstance(value, bool) or not isinstance(value, int):
        hint = " (use // or int())" if isinstance(value, float) else ""
        raise PlanError(f"{what} must be an int, not {show(value)}{hint}")
    if not low <= value <= high:
        raise PlanError(f"{what} is {show(value)}; it must be in {low}..{high}")
    return int(value)


def integers(value: object, what: str, low: int = 0) -> tuple[int, ...]:
    """``value`` (an int or a sequence of ints) as a tuple of at most ``MAX_NDIM`` ints."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (integer(value, what, low),)
    if not isinstance(value, list | tuple):
        raise PlanError(f"{what} must be an int or a tuple of ints, not {show(value)}")
    if len(value) > MAX_NDIM:
        raise PlanError(f"{what} has {len(value)} entries; {MAX_NDIM} is the limit")
    return tuple(integer(entry, what, low) for entry in value)


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides of ``shape``, in elements, as torch gives them (a zero dimension counts as 1)."""
    strides = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def span_elements(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to behind the last that a strided view touches; 0 when it is empty."""
    if 0 in shape:
        return 0
    return 1 + sum((extent - 1) * stride for extent, stride in zip(shape, strides, strict=True))


@dataclass(frozen=True, slots=True)
class Storage:
    """A stretch of device memory. ``role`` says who fills it; ``name`` binds inputs, parameters, buffers."""

    id: int
    role: str
    name: str | None
    bytes: int
    align: int


@dataclass(frozen=True, slots=True, eq=False)
class ShapeTensor:
    """A tensor as the plan sees it: no values. ``strides`` and ``offset`` count elements.

    Attributes:
        id: number of this view in the plan.
        storage: the memory it looks at.
        offset: elements of its own dtype from the start of the storage.
    """

    id: int
    storage: Storage
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def element_size(self) -> int:
        """Bytes of one element."""
        return ELEMENT_BYTES[self.dtype]

    def size(self, dim: int | None = None) -> int | tuple[int, ...]:
        """The shape, or its extent along ``dim``."""
        return self.shape if dim is None else self.shape[dim]

    def stride(self, dim: int | None = None) -> int | tuple[int, ...]:
        """The strides, or the one along ``dim``, in elements."""
        return self.strides if dim is None else self.strides[dim]

    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return 0 in self.shape or all(
            extent == 1 or have == want
            for extent, have, want in zip(
                self.shape, self.strides, contiguous_strides(self.shape), strict=True
            )
        )

    def __len__(self) -> int:
        if not self.shape:
            raise PlanError("a tensor without dimensions has no length")
        return self.shape[0]

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise PlanError(
            f"a tensor in plan() has no values and no .{name}; it offers shape, dtype, strides, ndim, dim(), "
            f"size(), stride(), numel(), element_size(), is_contiguous(). Compute in a kernel, or k.op(...)"
        )


def show(value: object) -> str:
    """A short description of any object, without running its code unless its type is a builtin."""
    if isinstance(value, ShapeTensor):
        return f"a tensor of shape {value.shape}"
    if type(value) is int and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    if type(value) in (int, float, bool, type(None)):
        return repr(value)
    if type(value) is str:
        return repr(value[:60])
    return f"a {type(value).__name__[:60]}"
