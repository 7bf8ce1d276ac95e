"""The launch plan: what a candidate's ``plan`` function asks the trusted runner to do, as frozen data.

Its JSON form is public (``docs/schema/plan.json``). Being a ``LaunchPlan`` means well-formed; being safe
to run means having passed ``validate_plan``, and having exact argument types means being a ``BoundPlan``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal, assert_never

from pydantic import ConfigDict, Field, TypeAdapter

from kforge.types import DType, Language

_HOSTILE = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=0, lt=2**63)]
Int = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Name = Annotated[str, Field(max_length=200)]
Extents = Annotated[tuple[Count, ...], Field(max_length=12)]
Grid = Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]
MapExtents = Annotated[tuple[Count, ...], Field(min_length=1, max_length=5)]
TensorMapType = Literal[
    "uint8", "uint16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bfloat16",
    "float32_ftz", "tfloat32", "tfloat32_ftz",
]  # fmt: skip
Role = Literal["input", "param", "buffer", "op", "alloc", "zeros", "scratch"]
GIVEN_ROLES = ("input", "param", "buffer")
ScalarType = Literal[
    "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "bf16", "f32", "f64", "b8"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """A stretch of device memory.

    Attributes:
        role: who fills it: the task (input, param, buffer), a library operator (op), a memset in the timed
            region (zeros), or kernels alone (alloc and scratch, poisoned before every run).
        name: the task's name for it; None for memory that the plan made.
        bytes: its size.
        align: byte alignment of its start.
    """

    __pydantic_config__ = _HOSTILE
    id: Count
    role: Role
    name: Name | None
    bytes: Count
    align: Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A typed look at a storage; ``offset`` and ``strides`` count elements of ``dtype``."""

    __pydantic_config__ = _HOSTILE
    id: Count
    storage: Count
    offset: Count
    dtype: DType
    shape: Extents
    strides: Extents


@dataclass(frozen=True, slots=True)
class TensorArg:
    """A tensor: a pointer to its first element for a kernel."""

    __pydantic_config__ = _HOSTILE
    id: Count
    kind: Literal["tensor"]


@dataclass(frozen=True, slots=True)
class IntArg:
    """A Python int; goes to an integer parameter."""

    __pydantic_config__ = _HOSTILE
    value: Int
    kind: Literal["int"]


@dataclass(frozen=True, slots=True)
class FloatArg:
    """A Python float; goes to a floating parameter."""

    __pydantic_config__ = _HOSTILE
    value: float
    kind: Literal["float"]


@dataclass(frozen=True, slots=True)
class BoolArg:
    """A Python bool; goes to a bool parameter."""

    __pydantic_config__ = _HOSTILE
    value: bool
    kind: Literal["bool"]


@dataclass(frozen=True, slots=True)
class TypedArg:
    """A scalar whose device type the plan stated, as ``k.f32(0.5)``."""

    __pydantic_config__ = _HOSTILE
    type: ScalarType
    value: bool | Int | float
    kind: Literal["typed"]


@dataclass(frozen=True, slots=True)
class LocalArg:
    """Work-group local memory of ``count`` elements."""

    __pydantic_config__ = _HOSTILE
    dtype: DType
    count: Annotated[int, Field(ge=1, le=2**31)]
    kind: Literal["local"]


@dataclass(frozen=True, slots=True)
class TensorMap:
    """A TMA descriptor as the CUDA driver takes it: extents innermost first.

    Attributes:
        offset_bytes: from the tensor's first element to the map's global address.
        strides_bytes: of every dimension but the innermost.
        box: elements that one copy moves per dimension; empty for im2col, whose own four fields come last.
    """

    __pydantic_config__ = _HOSTILE
    map_kind: Literal["tiled", "im2col"]
    dtype: TensorMapType
    dims: MapExtents
    strides_bytes: Annotated[tuple[Count, ...], Field(max_length=4)]
    box: Annotated[tuple[Count, ...], Field(max_length=5)]
    element_strides: MapExtents
    offset_bytes: Count
    interleave: Literal["none", "16b", "32b"]
    swizzle: Literal["none", "32b", "64b", "128b"]
    l2_promotion: Literal["none", "64b", "128b", "256b"]
    oob_fill: Literal["none", "nan"]
    lower_corner: Annotated[tuple[Int, ...], Field(max_length=3)] | None = None
    upper_corner: Annotated[tuple[Int, ...], Field(max_length=3)] | None = None
    channels_per_pixel: Count | None = None
    pixels_per_column: Count | None = None


@dataclass(frozen=True, slots=True)
class TensorMapArg:
    """A TMA descriptor of a tensor's memory, made by the runner."""

    __pydantic_config__ = _HOSTILE
    id: Count
    map: TensorMap
    kind: Literal["tensor_map"]


StructField = Annotated[TensorArg | TypedArg, Field(discriminator="kind")]
ArrayItem = Annotated[TensorArg | TensorMapArg, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class StructArg:
    """A struct by value, laid out as C does; pointers in it are the runner's."""

    __pydantic_config__ = _HOSTILE
    fields: Annotated[tuple[StructField, ...], Field(min_length=1, max_length=512)]
    kind: Literal["struct"]


@dataclass(frozen=True, slots=True)
class ArrayArg:
    """An array in device memory, of pointers or of tensor maps."""

    __pydantic_config__ = _HOSTILE
    items: Annotated[tuple[ArrayItem, ...], Field(min_length=1, max_length=4096)]
    kind: Literal["array"]


LaunchArg = Annotated[
    TensorArg | IntArg | FloatArg | BoolArg | TypedArg | LocalArg | TensorMapArg | StructArg | ArrayArg,
    Field(discriminator="kind"),
]
OpArg = (
    TensorArg | None | bool | Int | float | Name | Annotated[tuple[Int, ...], Field(max_length=12)]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpStep:
    """A library operator; ``out`` is a tensor over all of a storage of role ``op``."""

    __pydantic_config__ = _HOSTILE
    name: Name
    args: Annotated[tuple[OpArg, ...], Field(max_length=16)]
    kwargs: Annotated[dict[Name, OpArg], Field(max_length=16)]
    out: Count
    kind: Literal["op"]


@dataclass(frozen=True, slots=True)
class Waves:
    """A one-dimensional grid of ``waves`` times as many blocks as the device holds at once."""

    __pydantic_config__ = _HOSTILE
    waves: Annotated[int, Field(ge=1, le=1024)]


@dataclass(frozen=True, slots=True)
class LaunchStep:
    """One kernel launch; ``grid`` counts blocks, ``block`` work-items, both as (x, y, z).

    Attributes:
        shared_bytes: dynamic shared memory, beside the kernel's static.
        cooperative: all blocks run at once and may wait for each other.
        cluster: blocks per cluster.
        nonportable_cluster: allow more than 8 blocks per cluster.
        pdl: may begin before the launch before it has ended (programmatic dependent launch).
        carveout: preferred share of shared memory in the SM's fast memory, per cent.
        after: ids of the earlier steps this one waits for; None: all before it.
    """

    __pydantic_config__ = _HOSTILE
    kernel: Name
    grid: Grid | Waves
    block: Grid
    args: Annotated[tuple[LaunchArg, ...], Field(max_length=64)]
    kind: Literal["launch"]
    shared_bytes: Count = 0
    cooperative: bool = False
    cluster: Grid | None = None
    nonportable_cluster: bool = False
    pdl: bool = False
    carveout: Annotated[int, Field(ge=0, le=100)] | None = None
    after: Annotated[tuple[Count, ...], Field(max_length=4096)] | None = None


@dataclass(frozen=True, slots=True)
class MemsetStep:
    """Set the bytes of elements ``start`` to ``stop`` of a contiguous tensor to ``value``."""

    __pydantic_config__ = _HOSTILE
    tensor: Count
    value: Annotated[int, Field(ge=0, le=255)]
    start: Count
    stop: Count
    kind: Literal["memset"]


@dataclass(frozen=True, slots=True)
class CopyStep:
    """Copy one contiguous tensor into another of the same shape and element type."""

    __pydantic_config__ = _HOSTILE
    dst: Count
    src: Count
    kind: Literal["copy"]


Step = Annotated[OpStep | LaunchStep | MemsetStep | CopyStep, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything the runner does for one workload. Ids are positions: tensor 3 is ``tensors[3]``.

    Attributes:
        outputs: tensor ids in the reference's order.
        library_ops: sorted names of the operators that ``steps`` use.
    """

    __pydantic_config__ = _HOSTILE
    version: Literal[1]
    language: Language
    storages: Annotated[tuple[Storage, ...], Field(max_length=16384)]
    tensors: Annotated[tuple[Tensor, ...], Field(max_length=16384)]
    steps: Annotated[tuple[Step, ...], Field(max_length=4096)]
    outputs: Annotated[tuple[Count, ...], Field(max_length=64)]
    library_ops: Annotated[tuple[Name, ...], Field(max_length=64)]

    def storage_of(self, tensor_id: int) -> Storage:
        """The storage that this tensor looks at."""
        return self.storages[self.tensors[tensor_id].storage]


@dataclass(frozen=True, slots=True)
class BoundTensor:
    """A pointer argument: the address of the tensor's first element. ``writable`` if not ``const``."""

    id: int
    writable: bool
    kind: Literal["tensor"] = "tensor"


@dataclass(frozen=True, slots=True)
class BoundScalar:
    """A scalar at exactly the width and class of the kernel's parameter."""

    type: ScalarType
    value: bool | int | float
    kind: Literal["scalar"] = "scalar"


@dataclass(frozen=True, slots=True)
class BoundLocal:
    """Local memory in the form that the kernel declares."""

    form: Literal["local_accessor", "work_group_memory"]
    dtype: DType
    count: int
    bytes: int
    kind: Literal["local"] = "local"


@dataclass(frozen=True, slots=True)
class BoundTensorMap:
    """A TMA descriptor over a tensor's memory; ``writable`` since stores may go through it too."""

    id: int
    map: TensorMap
    writable: bool
    kind: Literal["tensor_map"] = "tensor_map"


@dataclass(frozen=True, slots=True)
class BoundField:
    """One member of a struct, ``offset`` bytes from its start."""

    offset: int
    arg: Annotated[BoundTensor | BoundScalar, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class BoundStruct:
    """A struct of ``bytes`` bytes; the compiled parameter must have exactly that size."""

    bytes: int
    align: int
    fields: tuple[BoundField, ...]
    kind: Literal["struct"] = "struct"


@dataclass(frozen=True, slots=True)
class BoundArray:
    """A pointer to an array that the runner makes in device memory."""

    items: tuple[Annotated[BoundTensor | BoundTensorMap, Field(discriminator="kind")], ...]
    kind: Literal["array"] = "array"


BoundArg = Annotated[
    BoundTensor | BoundScalar | BoundLocal | BoundTensorMap | BoundStruct | BoundArray,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class BoundPlan:
    """A validated plan with every launch argument resolved against the kernels' signatures.

    Attributes:
        plan: the validated plan.
        launches: per launch step, in step order, the exact arguments.
    """

    plan: LaunchPlan
    launches: tuple[tuple[BoundArg, ...], ...]


def tensors_of(arg: LaunchArg) -> tuple[int, ...]:
    """Ids of the tensors that a launch argument gives a kernel."""
    match arg:
        case TensorArg(id=tensor) | TensorMapArg(id=tensor):
            return (tensor,)
        case StructArg(fields=fields):
            return tuple(field.id for field in fields if isinstance(field, TensorArg))
        case ArrayArg(items=items):
            return tuple(item.id for item in items)
        case IntArg() | FloatArg() | BoolArg() | TypedArg() | LocalArg():
            return ()
        case _:
            assert_never(arg)


def plan_schema() -> str:
    """The JSON schema of the plan, as published in ``docs/schema/plan.json``."""
    schema = TypeAdapter(LaunchPlan).json_schema()
    schema["title"] = "kforge launch plan, version 1"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
