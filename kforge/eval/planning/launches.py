"""Launches as plain data: attributes and arguments of ``k.launch``, with the reason where one is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kforge.eval.planning.shapes import MAX_INT, PlanError, ShapeTensor, integer, integers, show

MAX_ARGS = 64
MAX_FIELDS = 512
MAX_ITEMS = 4096
MAX_WAVES = 1024
Own = Callable[[object, str], ShapeTensor]
"""Checks that a value is a tensor of this plan."""


@dataclass(frozen=True, slots=True)
class TypedScalar:
    """A scalar whose device type the plan states: ``k.f32(0.5)``, ``k.i64(n)``."""

    type: str
    value: bool | int | float


@dataclass(frozen=True, slots=True)
class LocalMemory:
    """Work-group local memory of ``count`` elements, one local accessor argument (SYCL)."""

    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorMapValue:
    """What ``k.tensor_map`` gives: a TMA descriptor of a tensor's memory."""

    tensor: ShapeTensor
    map: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StructValue:
    """What ``k.struct`` gives: tensors and typed scalars in C layout, nested lists flattened."""

    fields: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """What ``k.pointers`` and ``k.tensor_maps`` give: an array in device memory."""

    items: tuple[object, ...]


def attributes_of(language: str, what: str, given: Mapping[str, object]) -> dict[str, object]:
    """The attributes of a launch that differ from their defaults.

    Args:
        language: SYCL offers none of them.
        what: how messages call the launch.
        given: every attribute by name, as written in the plan.
    """
    set_ones = {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and (value != 0 or name == "carveout")
    }
    if language != "cuda":
        for name in set_ones:
            hint = "; use k.local(dtype, n)" if name == "shared_bytes" else ""
            raise PlanError(f"{what}: {name} is not available for {language}{hint}")
        return {}
    found: dict[str, object] = {}
    for name, value in set_ones.items():
        match name:
            case "shared_bytes":
                found[name] = integer(value, f"{what} shared_bytes")
            case "cluster":
                found[name] = list(extents(value, f"{what} cluster"))
            case "carveout":
                found[name] = integer(value, f"{what} carveout (per cent)", 0, 100)
            case _:
                if value is not True:
                    raise PlanError(f"{what}: {name} is {show(value)}; it must be True or False")
                found[name] = True
    return found


def grid_of(language: str, grid: object, what: str) -> object:
    """Blocks per dimension, or ``{"waves": n}`` on CUDA."""
    if not isinstance(grid, dict):
        return extents(grid, f"{what} grid")
    if language != "cuda":
        raise PlanError(f"{what}: grid={{'waves': n}} is not available for {language}; give numbers")
    if set(grid) != {"waves"}:
        raise PlanError(f"{what}: grid is a dict; only {{'waves': n}} is possible")
    return {"waves": integer(grid["waves"], f"{what} waves", 1, MAX_WAVES)}


def extents(value: object, what: str) -> list[int]:
    """One to three extents, (x, y, z)."""
    entries = integers(value, what)
    if not 1 <= len(entries) <= 3:
        raise PlanError(f"{what} has {len(entries)} dimensions; 1 to 3 are possible")
    return list(entries)


def argument_of(value: object, what: str, own: Own) -> dict[str, object]:
    """A launch argument as JSON data."""
    match value:
        case ShapeTensor():
            return {"kind": "tensor", "id": own(value, what).id}
        case TypedScalar(type=kind, value=stated):
            return {"kind": "typed", "type": kind, "value": stated}
        case LocalMemory(dtype=dtype, count=count):
            return {"kind": "local", "dtype": dtype, "count": count}
        case TensorMapValue(tensor=tensor, map=described):
            return {"kind": "tensor_map", "id": own(tensor, what).id, "map": dict(described)}
        case StructValue(fields=fields):
            return {"kind": "struct", "fields": [argument_of(field, what, own) for field in fields]}
        case ArrayValue(items=items):
            return {"kind": "array", "items": [argument_of(item, what, own) for item in items]}
        case bool():
            return {"kind": "bool", "value": value}
        case int():
            return {"kind": "int", "value": integer(value, what, -MAX_INT)}
        case float():
            return {"kind": "float", "value": finite(value, what)}
        case _:
            raise PlanError(
                f"{what} is {show(value)}; pass a tensor, int, float, bool, k.local or k.f32(...)"
            )


def struct_of(members: tuple[object, ...]) -> StructValue:
    """Members of ``k.struct`` in order, lists (C arrays) flattened.

    Raises:
        PlanError: a member is neither a tensor nor a typed scalar.
    """
    flat: list[object] = []

    def add(member: object) -> None:
        if isinstance(member, list | tuple):
            for entry in member:
                add(entry)
            return
        if not isinstance(member, ShapeTensor | TypedScalar):
            raise PlanError(
                f"k.struct member {len(flat)} is {show(member)}; pass tensors and typed scalars such as "
                "k.f32(x) or k.i32(n), since a struct's layout depends on their types"
            )
        flat.append(member)
        if len(flat) > MAX_FIELDS:
            raise PlanError(f"k.struct has more than {MAX_FIELDS} members")

    add(members)
    if not flat:
        raise PlanError("k.struct needs members")
    return StructValue(tuple(flat))


def array_of(items: object, kind: type, what: str) -> ArrayValue:
    """Items of ``k.pointers`` or ``k.tensor_maps``."""
    if not isinstance(items, list | tuple) or not 1 <= len(items) <= MAX_ITEMS:
        raise PlanError(f"{what} needs a list of 1 to {MAX_ITEMS} entries, not {show(items)}")
    for position, item in enumerate(items):
        if not isinstance(item, kind):
            raise PlanError(f"{what} entry {position} is {show(item)}")
    return ArrayValue(tuple(items))


def finite(value: float, what: str) -> float:
    """``value`` unless it is infinite or NaN, which JSON cannot say."""
    if not math.isfinite(value):
        raise PlanError(f"{what} is {value}; write infinities and NaN in the device code")
    return value
