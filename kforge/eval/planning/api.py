"""The ``k`` object: it writes down what the plan asks for, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kforge.eval.planning.launches import (
    MAX_ARGS,
    ArrayValue,
    LocalMemory,
    StructValue,
    TensorMapValue,
    TypedScalar,
    argument_of,
    array_of,
    attributes_of,
    extents,
    finite,
    grid_of,
    struct_of,
)
from kforge.eval.planning.ops import VIEWS, output_of
from kforge.eval.planning.shapes import (
    ELEMENT_BYTES,
    MAX_INT,
    PlanError,
    ShapeTensor,
    Storage,
    contiguous_strides,
    element_type,
    integer,
    integers,
    show,
    span_elements,
)
from kforge.eval.planning.tensor_maps import tensor_map_of
from kforge.eval.planning.views import view_of

MAX_STEPS = 4096
MAX_TENSORS = 16384
DEFAULT_ALIGN_BYTES = 64
INTEGER_BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64}
FLOAT_TYPES = ("f16", "bf16", "f32", "f64")


class Names:
    """Read-only names: attribute access and indexing, with the known names in the error."""

    __slots__ = ("_kind", "_values")

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        self._kind = kind
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - literals of the candidate's own choosing
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        if name not in self._values:
            known = ", ".join(self._values) or "nothing"
            raise PlanError(f"{self._kind} has no {show(name)}; it holds {known}")
        return self._values[name]


class Planner:
    """The ``k`` of ``plan(k, *inputs)``: records storages, tensors and steps.

    Args:
        job: decoded JSON with ``workload``, ``device``, ``tune`` and ``language``.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._language: str = job["language"]
        self._storages: list[Storage] = []
        self._tensors: list[ShapeTensor] = []
        self._steps: list[dict[str, object]] = []
        workload = job["workload"]
        self._init: dict[str, object] = workload["init"]
        self._inputs = [
            self._given("input", spec["tensor"]) if spec["tensor"] is not None else spec["constant"]
            for spec in workload["inputs"]
        ]
        self._parameters = {spec["name"]: self._given("param", spec) for spec in workload["parameters"]}
        self._buffers = {spec["name"]: self._given("buffer", spec) for spec in workload["buffers"]}
        self.device = Names("k.device", job["device"])
        self.tune = Names("k.tune", job["tune"])

    # ------------------------------------------------------------------------------------ task data

    def param(self, name: str) -> ShapeTensor:
        """The parameter of that ``state_dict`` name, read-only."""
        return self._named("k.param", self._parameters, name)

    def buffer(self, name: str) -> ShapeTensor:
        """The buffer of that ``state_dict`` name, read-only."""
        return self._named("k.buffer", self._buffers, name)

    def init(self, name: str) -> object:
        """The value of that constructor argument of the reference."""
        if name not in self._init:
            known = ", ".join(self._init) or "nothing"
            raise PlanError(f"k.init has no {show(name)}; the constructor's arguments are {known}")
        return self._init[name]

    # ---------------------------------------------------------------------------------------- memory

    def empty(
        self, shape: object, dtype: object = "float32", align: int = DEFAULT_ALIGN_BYTES
    ) -> ShapeTensor:
        """A contiguous buffer, poisoned before every run."""
        return self._allocate("alloc", shape, dtype, align)

    def empty_like(self, tensor: object) -> ShapeTensor:
        """A buffer of that tensor's shape, element type and strides."""
        like = self._own(tensor, "k.empty_like")
        return self.empty_strided(like.shape, like.strides, like.dtype)

    def empty_strided(
        self, shape: object, strides: object, dtype: object = "float32", align: int = DEFAULT_ALIGN_BYTES
    ) -> ShapeTensor:
        """A buffer of that shape and those strides (in elements)."""
        return self._allocate("alloc", shape, dtype, align, integers(strides, "strides"))

    def zeros(
        self, shape: object, dtype: object = "float32", align: int = DEFAULT_ALIGN_BYTES
    ) -> ShapeTensor:
        """A contiguous buffer that a memset inside the timed region sets to zero."""
        return self._allocate("zeros", shape, dtype, align)

    def scratch(self, size_bytes: int, align: int = 256) -> ShapeTensor:
        """A workspace of that many bytes, as a uint8 tensor; look at parts of it with ``k.view``."""
        return self._allocate("scratch", integer(size_bytes, "k.scratch bytes", 1), "uint8", align)

    def view(
        self, tensor: object, offset: int, dtype: object, shape: object, strides: object = None
    ) -> ShapeTensor:
        """Another look at a tensor's memory. ``offset`` counts elements of the new ``dtype``."""
        base = self._own(tensor, "k.view")
        kind = element_type(dtype)
        start_bytes = base.offset * base.element_size()
        if start_bytes % ELEMENT_BYTES[kind]:
            raise PlanError(
                f"k.view: the tensor starts at byte {start_bytes}, which is not a multiple of {kind}"
            )
        first = start_bytes // ELEMENT_BYTES[kind] + integer(offset, "k.view offset")
        sizes = integers(shape, "k.view shape")
        steps = contiguous_strides(sizes) if strides is None else integers(strides, "k.view strides")
        return self._add_tensor(base.storage, first, kind, sizes, steps)

    # ----------------------------------------------------------------------------------------- steps

    def op(self, name: str, *args: object, **kwargs: object) -> ShapeTensor:
        """A library operator run by the trusted runner, or a view that copies nothing."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, ShapeTensor):
                self._own(value, f"k.op({show(name)})")
        if isinstance(name, str) and name in VIEWS:
            base, (shape, strides) = view_of(name, args, kwargs)
            return self._add_tensor(base.storage, base.offset, base.dtype, shape, strides)
        dtype, shape = output_of(name, args, kwargs)
        out = self._allocate("op", shape, dtype, DEFAULT_ALIGN_BYTES)
        words = {key: _op_argument(value) for key, value in kwargs.items()}
        values = [_op_argument(value) for value in args]
        self._add_step({"kind": "op", "name": name, "args": values, "kwargs": words, "out": out.id})
        return out

    def memset(self, tensor: object, value: int = 0, range: object = None) -> int:
        """Set a contiguous tensor, or its elements ``range = (start, stop)``, to bytes of ``value``."""
        target = self._own(tensor, "k.memset")
        start, stop = (0, target.numel()) if range is None else integers(range, "k.memset range")
        return self._add_step(
            {
                "kind": "memset",
                "tensor": target.id,
                "value": integer(value, "k.memset value", 0, 255),
                "start": start,
                "stop": stop,
            }
        )

    def copy(self, dst: object, src: object) -> int:
        """Copy ``src`` into ``dst``: contiguous tensors of one shape and element type."""
        target, source = self._own(dst, "k.copy dst"), self._own(src, "k.copy src")
        return self._add_step({"kind": "copy", "dst": target.id, "src": source.id})

    def launch(  # noqa: PLR0917 - the published signature
        self, kernel: str, grid: object, block: object, args: object = (), shared_bytes: int = 0,
        cooperative: bool = False, cluster: object = None, nonportable_cluster: bool = False,
        pdl: bool = False, carveout: object = None, after: object = None,
    ) -> int:  # fmt: skip
        """Launch one kernel: ``grid`` counts blocks, tuples are (x, y, z). Returns the step's id."""
        if not isinstance(kernel, str):
            raise PlanError(f"k.launch needs the kernel's name first, not {show(kernel)}")
        what = f"k.launch({show(kernel)})"
        first = not any(step["kind"] == "launch" for step in self._steps)
        attributes = attributes_of(
            self._language, what,
            {
                "shared_bytes": shared_bytes, "cooperative": cooperative, "cluster": cluster,
                "nonportable_cluster": nonportable_cluster, "carveout": carveout,
                # Before the first launch there is nothing that it could overlap but the clock's start.
                "pdl": False if first and self._language == "cuda" else pdl,
            },
        )  # fmt: skip
        if after is not None:
            named = [
                integer(n, f"{what} after", 0, len(self._steps) - 1) for n in integers(after, f"{what} after")
            ]
            # On a SYCL device steps run in order, which satisfies every dependency on an earlier step.
            attributes |= {"after": named} if self._language == "cuda" else {}
        if not isinstance(args, list | tuple) or len(args) > MAX_ARGS:
            raise PlanError(f"{what}: args must be a list of at most {MAX_ARGS} values")
        return self._add_step(
            {
                "kind": "launch",
                "kernel": kernel,
                "grid": grid_of(self._language, grid, what),
                "block": extents(block, f"{what} block"),
                "args": [
                    argument_of(value, f"{what} argument {i}", self._own) for i, value in enumerate(args)
                ],
                **attributes,
            }
        )

    def tensor_map(self, buffer: object, box: object = (), **given: object) -> TensorMapValue:
        """A TMA descriptor of a tensor's memory, x first: see ``tensor_maps``. CUDA only."""
        self._cuda_only("k.tensor_map")
        return tensor_map_of(self._own(buffer, "k.tensor_map"), box, given)

    def struct(self, *members: object) -> StructValue:
        """A struct by value in C layout: tensors become pointers, scalars are typed, lists are arrays."""
        self._cuda_only("k.struct")
        return struct_of(members)

    def pointers(self, tensors: object) -> ArrayValue:
        """An array of pointers in device memory, for a ``T* const*`` parameter."""
        self._cuda_only("k.pointers")
        return array_of(tensors, ShapeTensor, "k.pointers")

    def tensor_maps(self, maps: object) -> ArrayValue:
        """An array of TMA descriptors in device memory, for a ``const CUtensorMap*`` parameter."""
        self._cuda_only("k.tensor_maps")
        return array_of(maps, TensorMapValue, "k.tensor_maps")

    def _cuda_only(self, what: str) -> None:
        if self._language != "cuda":
            raise PlanError(f"{what} is not available for {self._language}")

    # --------------------------------------------------------------------------------------- scalars

    def local(self, dtype: object, count: int) -> LocalMemory:
        """Local memory of ``count`` elements for one work-group, passed as an argument (SYCL)."""
        if self._language != "sycl":
            raise PlanError(
                f"k.local is not available for {self._language}; give k.launch shared_bytes=n and declare "
                "extern __shared__ memory in the kernel"
            )
        return LocalMemory(element_type(dtype), integer(count, "k.local count", 1, 2**31))

    def cdiv(self, a: int, b: int) -> int:
        """``a / b`` rounded up."""
        return -(-integer(a, "k.cdiv a", -MAX_INT) // integer(b, "k.cdiv b", 1))

    def _typed(self, kind: str, value: object) -> TypedScalar:
        if kind == "b8":
            if not isinstance(value, bool):
                raise PlanError(f"k.b8 takes True or False, not {show(value)}")
            return TypedScalar(kind, value)
        if kind in FLOAT_TYPES:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PlanError(f"k.{kind} takes a number, not {show(value)}")
            return TypedScalar(kind, finite(float(value), f"k.{kind}"))
        bits = INTEGER_BITS[kind]
        signed = kind.startswith("i")
        low = -(2 ** (bits - 1)) if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        return TypedScalar(kind, integer(value, f"k.{kind}", max(low, -MAX_INT), min(high, MAX_INT)))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name in INTEGER_BITS or name in FLOAT_TYPES or name == "b8":
            return lambda value: self._typed(name, value)
        if name.startswith("_"):
            raise AttributeError(name)
        offered = ", ".join(sorted(entry for entry in dir(Planner) if not entry.startswith("_")))
        raise PlanError(
            f"k has no {name}; it offers device, tune, {offered} and typed scalars such as f32, i64"
        )

    # ---------------------------------------------------------------------------------------- records

    def _given(self, role: str, spec: Mapping[str, Any]) -> ShapeTensor:
        shape, strides = tuple(spec["shape"]), tuple(spec["strides"])
        size_bytes = span_elements(shape, strides) * ELEMENT_BYTES[spec["dtype"]]
        storage = self._add_storage(role, spec["name"], size_bytes, DEFAULT_ALIGN_BYTES)
        return self._add_tensor(storage, 0, spec["dtype"], shape, strides)

    def _allocate(
        self, role: str, shape: object, dtype: object, align: int, strides: tuple[int, ...] | None = None
    ) -> ShapeTensor:
        kind, sizes = element_type(dtype), integers(shape, "shape")
        steps = contiguous_strides(sizes) if strides is None else strides
        if len(steps) != len(sizes):
            raise PlanError(f"strides {steps} and shape {sizes} differ in length")
        if integer(align, "align", 1, 4096) & (align - 1):
            raise PlanError(f"align is {align}; it must be a power of two")
        size_bytes = integer(span_elements(sizes, steps) * ELEMENT_BYTES[kind], "the buffer's bytes")
        return self._add_tensor(self._add_storage(role, None, size_bytes, align), 0, kind, sizes, steps)

    def _add_storage(self, role: str, name: str | None, size_bytes: int, align: int) -> Storage:
        storage = Storage(len(self._storages), role, name, size_bytes, align)
        self._storages.append(storage)
        return storage

    def _add_tensor(
        self, storage: Storage, offset: int, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> ShapeTensor:
        if len(strides) != len(shape):
            raise PlanError(f"strides {strides} and shape {shape} differ in length")
        end_bytes = (offset + span_elements(shape, strides)) * ELEMENT_BYTES[dtype]
        if end_bytes > storage.bytes:
            raise PlanError(
                f"a {dtype} view of shape {shape} ends at byte {end_bytes} of {storage.bytes} bytes of memory"
            )
        if len(self._tensors) >= MAX_TENSORS:
            raise PlanError(f"the plan makes more than {MAX_TENSORS} tensors")
        tensor = ShapeTensor(len(self._tensors), storage, offset, dtype, shape, strides)
        self._tensors.append(tensor)
        return tensor

    def _add_step(self, step: dict[str, object]) -> int:
        if len(self._steps) >= MAX_STEPS:
            raise PlanError(f"the plan has more than {MAX_STEPS} steps")
        self._steps.append(step)
        return len(self._steps) - 1

    def _own(self, value: object, what: str) -> ShapeTensor:
        if not isinstance(value, ShapeTensor):
            raise PlanError(f"{what} needs a tensor, not {show(value)}")
        if not (value.id < len(self._tensors) and self._tensors[value.id] is value):
            raise PlanError(f"{what}: this tensor was not made by this k")
        return value

    def _named(self, what: str, table: Mapping[str, ShapeTensor], name: object) -> ShapeTensor:
        if not isinstance(name, str) or name not in table:
            raise PlanError(f"{what} has no {show(name)}; the names are {', '.join(table) or 'none'}")
        return table[name]

    def document(self, returned: object) -> dict[str, object]:
        """The finished plan as JSON data; ``returned`` is what ``plan`` gave back."""
        outputs = returned if isinstance(returned, tuple | list) else (returned,)
        ids = [self._own(value, f"the value plan() returns at {i}").id for i, value in enumerate(outputs)]
        return {
            "version": 1,
            "language": self._language,
            "storages": [
                {"id": s.id, "role": s.role, "name": s.name, "bytes": s.bytes, "align": s.align}
                for s in self._storages
            ],
            "tensors": [
                {
                    "id": t.id, "storage": t.storage.id, "offset": t.offset, "dtype": t.dtype,
                    "shape": t.shape, "strides": t.strides,
                }
                for t in self._tensors
            ],
            "steps": self._steps,
            "outputs": ids,
            "library_ops": sorted({str(step["name"]) for step in self._steps if step["kind"] == "op"}),
        }  # fmt: skip

    def inputs(self) -> tuple[object, ...]:
        """What ``plan`` gets after ``k``: shape-only tensors, and the task's constants as they are."""
        return tuple(self._inputs)


def _op_argument(value: object) -> object:
    match value:
        case ShapeTensor():
            return {"kind": "tensor", "id": value.id}
        case None | bool() | int() | str():
            return value
        case float():
            return finite(value, "an operator's argument")
        case list() | tuple():
            return list(integers(value, "an operator's argument"))
        case _:
            raise PlanError(f"an operator's argument cannot be {show(value)}")
