"""The launch plan: what a candidate's ``plan`` function asks the trusted runner to do, as frozen data.

Its JSON form is public (``docs/schema/plan.json``). Being a ``LaunchPlan`` means well-formed; being safe
to run means having passed ``validate_plan``, and having exact argument types means being a ``BoundPlan``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from kforge.types import DType, Language

_HOSTILE = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=0, lt=2**63)]
Int = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Name = Annotated[str, Field(max_length=200)]
Extents = Annotated[tuple[Count, ...], Field(max_length=12)]
Grid = Annotated[tuple[Count, ...], Field(min_length=1, max_length=3)]
Role = Literal["input", "param", "buffer", "op", "alloc", "zeros", "scratch"]
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


LaunchArg = Annotated[
    TensorArg | IntArg | FloatArg | BoolArg | TypedArg | LocalArg, Field(discriminator="kind")
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
class LaunchStep:
    """One kernel launch; ``grid`` counts blocks, ``block`` work-items, both as (x, y, z)."""

    __pydantic_config__ = _HOSTILE
    kernel: Name
    grid: Grid
    block: Grid
    args: Annotated[tuple[LaunchArg, ...], Field(max_length=64)]
    kind: Literal["launch"]


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


BoundArg = Annotated[BoundTensor | BoundScalar | BoundLocal, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class BoundPlan:
    """A validated plan with every launch argument resolved against the kernels' signatures.

    Attributes:
        plan: the validated plan.
        launches: per launch step, in step order, the exact arguments.
    """

    plan: LaunchPlan
    launches: tuple[tuple[BoundArg, ...], ...]


def plan_schema() -> str:
    """The JSON schema of the plan, as published in ``docs/schema/plan.json``."""
    schema = TypeAdapter(LaunchPlan).json_schema()
    schema["title"] = "kforge launch plan, version 1"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
