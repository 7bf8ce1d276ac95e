"""Is this launch plan safe to run for this workload? Trusts nothing that came out of the planning process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

from pydantic import ValidationError

from kforge.codec import from_json
from kforge.eval.launch_check import Refused, check_launch
from kforge.eval.plan import (
    GIVEN_ROLES,
    CopyStep,
    LaunchPlan,
    LaunchStep,
    MemsetStep,
    OpStep,
    Storage,
    Tensor,
    TensorArg,
    tensors_of,
)
from kforge.eval.planning import shapes
from kforge.eval.planning.ops import output_of
from kforge.eval.protocol import DEFAULT_PROTOCOL, Protocol
from kforge.types import DTYPE_BYTES, DeviceInfo, ScreenedOut, TensorSpec, Track, WorkloadSpec

MAX_JSON_BYTES = 4 * 1024 * 1024
# What the truth needs for every input and output value (docs/evaluation.md), in pieces of at most so many.
TRUTH_BYTES, MOST_VALUES = 50, 1 << 27
# Contexts, caches to flush and library workspaces of verifier, baseline and runner on a GPU.
CONTEXT_BYTES = 4 << 30


def validate_plan(
    json_text: str | bytes,
    workload: WorkloadSpec,
    device: DeviceInfo,
    track: Track,
    protocol: Protocol = DEFAULT_PROTOCOL,
) -> LaunchPlan | ScreenedOut:
    """Parse and check a plan from an untrusted process.

    Args:
        json_text: the plan document.
        workload: the workload it was made for.
        device: the device it shall run on; bounds memory, work-group size and local memory.
        track: ``pure`` forbids library operators.
        protocol: which defences are on.

    Returns:
        The plan, or the reason for its author why it cannot run.
    """
    if len(json_text) > MAX_JSON_BYTES:
        return ScreenedOut(f"the plan is larger than {MAX_JSON_BYTES} bytes of JSON", "plan_size")
    try:
        plan = from_json(LaunchPlan, json_text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        return ScreenedOut(
            f"the plan is not well-formed at {where or 'its start'}: {first['msg'][:300]}", "plan_form"
        )
    if not protocol.has("plan_check"):
        return plan
    try:
        _check_memory(plan, workload, device)
        _check_steps(plan, device, track)
        _check_outputs(plan, workload, exact_layout=protocol.has("exact_layout"))
    except Refused as refusal:
        return refusal.outcome
    return plan


def _check_memory(plan: LaunchPlan, workload: WorkloadSpec, device: DeviceInfo) -> None:
    if plan.language != device.language:
        raise Refused("language", f"the plan is for {plan.language}, the device runs {device.language}")
    given = {("input", spec.tensor.name): spec.tensor for spec in workload.inputs if spec.tensor is not None}
    given |= {("param", spec.name): spec for spec in workload.parameters}
    given |= {("buffer", spec.name): spec for spec in workload.buffers}
    seen: set[tuple[str, str | None]] = set()
    for position, storage in enumerate(plan.storages):
        if storage.id != position or storage.align & (storage.align - 1):
            raise Refused(
                "plan_form", f"storage {position} has id {storage.id} and alignment {storage.align}"
            )
        if storage.role in GIVEN_ROLES:
            spec = given.get((storage.role, storage.name or ""))
            key = (storage.role, storage.name)
            if spec is None or key in seen or storage.bytes != _bytes(spec):
                raise Refused(
                    "plan_form", f"storage {position} is not the task's {storage.role} {storage.name}"
                )
            seen.add(key)
        elif storage.name is not None:
            raise Refused("plan_form", f"storage {position} of role {storage.role} has a name")
    _check_room(sum(storage.bytes for storage in plan.storages), workload, device)
    for position, tensor in enumerate(plan.tensors):
        _check_tensor(plan, position, tensor)


def _check_room(total_bytes: int, workload: WorkloadSpec, device: DeviceInfo) -> None:
    """Beside the plan's buffers there must be room for everyone who judges it, or they fail in its place."""
    inputs = [spec.tensor for spec in workload.inputs if spec.tensor is not None]
    given = sum(_bytes(spec) for spec in (*inputs, *workload.parameters, *workload.buffers))
    outputs = sum(_bytes(spec) for spec in workload.outputs)
    values = sum(math.prod(spec.shape) for spec in (*inputs, *workload.outputs))
    # Given values: the draw and the baseline's. Outputs: a snapshot, eager's, both baselines'.
    judges = 2 * given + 4 * outputs + TRUTH_BYTES * min(values, MOST_VALUES)
    judges += min(CONTEXT_BYTES, device.memory_bytes // 8)
    own = total_bytes - given - outputs
    room = max(device.memory_bytes - given - outputs - judges, given + outputs)
    if total_bytes > device.memory_bytes or own > room:
        raise Refused(
            "memory",
            f"the plan's buffers take {total_bytes} bytes, {own} of them beside inputs and outputs; the "
            f"device has {device.memory_bytes}, and verifier and baseline leave {room} of them for that",
        )


def _bytes(spec: TensorSpec) -> int:
    return shapes.span_elements(spec.shape, spec.strides) * DTYPE_BYTES[spec.dtype]


def _check_tensor(plan: LaunchPlan, position: int, tensor: Tensor) -> None:
    if (
        tensor.id != position
        or tensor.storage >= len(plan.storages)
        or len(tensor.shape) != len(tensor.strides)
    ):
        raise Refused("plan_form", f"tensor {position} is malformed")
    end = (tensor.offset + shapes.span_elements(tensor.shape, tensor.strides)) * DTYPE_BYTES[tensor.dtype]
    size = plan.storages[tensor.storage].bytes
    if end > size:
        raise Refused("bounds", f"tensor {position} ends at byte {end} of a storage of {size} bytes")


# ---------------------------------------------------------------------------------------------- steps


class _State:
    """Which storages hold something when a step begins."""

    def __init__(self, plan: LaunchPlan) -> None:
        self.plan = plan
        self.written = {s.id for s in plan.storages if s.role in (*GIVEN_ROLES, "zeros")}
        self.made: set[int] = set()
        self.launched: set[int] = set()

    def tensor(self, index: int) -> tuple[Tensor, Storage]:
        if index >= len(self.plan.tensors):
            raise Refused("plan_form", f"the plan names tensor {index}, which does not exist")
        tensor = self.plan.tensors[index]
        return tensor, self.plan.storages[tensor.storage]

    def read(self, index: int, what: str) -> Tensor:
        tensor, storage = self.tensor(index)
        if storage.id not in self.written:
            raise Refused("unwritten", f"{what} reads tensor {index}, which nothing has written before")
        return tensor

    def write(self, index: int, what: str) -> Tensor:
        tensor, storage = self.tensor(index)
        if storage.role in GIVEN_ROLES:
            raise Refused("read_only", f"{what} writes {storage.role} {storage.name}, which is read-only")
        if storage.role == "op" and storage.id not in self.written:
            raise Refused("unwritten", f"{what} uses the output of an operator before that operator")
        self.written.add(storage.id)
        return tensor


def _check_steps(plan: LaunchPlan, device: DeviceInfo, track: Track) -> None:
    state = _State(plan)
    for number, step in enumerate(plan.steps):
        match step:
            case OpStep():
                _check_op(state, step, number, track)
            case LaunchStep():
                _check_launch(state, step, number, device)
            case MemsetStep():
                _check_memset(state, step, f"k.memset (step {number})")
            case CopyStep():
                _check_copy(state, step, f"k.copy (step {number})")
            case _:
                assert_never(step)
    undefined = [s.id for s in plan.storages if s.role == "op" and s.id not in state.made]
    if undefined:
        raise Refused("plan_form", f"storage {undefined[0]} claims to be an operator's output and is not")
    if not any(isinstance(step, LaunchStep) for step in plan.steps):
        raise Refused("no_launch", "the plan launches no kernel of its own; at least one k.launch is needed")
    named = tuple(sorted({step.name for step in plan.steps if isinstance(step, OpStep)}))
    if plan.library_ops != named:
        raise Refused("plan_form", f"library_ops says {list(plan.library_ops)}, the steps use {list(named)}")


def _is_contiguous(tensor: Tensor) -> bool:
    return 0 in tensor.shape or all(
        extent == 1 or have == want
        for extent, have, want in zip(
            tensor.shape, tensor.strides, shapes.contiguous_strides(tensor.shape), strict=True
        )
    )


def _check_memset(state: _State, step: MemsetStep, what: str) -> None:
    target = state.write(step.tensor, what)
    if not step.start <= step.stop <= math.prod(target.shape) or not _is_contiguous(target):
        raise Refused("bounds", f"{what}: range {step.start}..{step.stop} of a tensor {_show(target.shape)}")


def _check_copy(state: _State, step: CopyStep, what: str) -> None:
    source, target = state.read(step.src, what), state.write(step.dst, what)
    if (source.dtype, source.shape) != (target.dtype, target.shape):
        have = f"{source.dtype} {_show(source.shape)}"
        raise Refused("shape", f"{what}: {have} into {target.dtype} {_show(target.shape)}")
    if source.storage == target.storage or not (_is_contiguous(source) and _is_contiguous(target)):
        raise Refused("shape", f"{what} needs two contiguous tensors in different buffers")


def _check_op(state: _State, step: OpStep, number: int, track: Track) -> None:
    what = f"k.op({step.name!r}) (step {number})"
    if track == "pure":
        raise Refused(
            "library_op", f"{what}: the pure track allows no library operator; write a kernel for it"
        )

    def operand(value: object) -> object:
        if not isinstance(value, TensorArg):
            return value
        tensor = state.read(value.id, what)
        storage = shapes.Storage(tensor.storage, "alloc", None, 0, 1)
        return shapes.ShapeTensor(
            tensor.id, storage, tensor.offset, tensor.dtype, tensor.shape, tensor.strides
        )

    try:
        dtype, shape = output_of(
            step.name,
            [operand(value) for value in step.args],
            {key: operand(value) for key, value in step.kwargs.items()},
        )
    except shapes.PlanError as error:
        raise Refused("library_op", f"step {number}: {error}") from None
    out, storage = state.tensor(step.out)
    expected = (dtype, shape, shapes.contiguous_strides(shape), 0)
    if (out.dtype, out.shape, out.strides, out.offset) != expected:
        raise Refused("library_op", f"{what} gives {dtype} {shape}, the plan says {out.dtype} {out.shape}")
    if (
        storage.role != "op"
        or storage.id in state.made
        or storage.bytes != math.prod(shape) * DTYPE_BYTES[out.dtype]
    ):
        raise Refused("library_op", f"{what} does not write a buffer of its own")
    state.made.add(storage.id)
    state.written.add(storage.id)


def _check_launch(state: _State, step: LaunchStep, number: int, device: DeviceInfo) -> None:
    check_launch(state.plan, step, number, device)
    for arg in step.args:
        for tensor in tensors_of(arg):
            _, storage = state.tensor(tensor)
            if storage.role == "op" and storage.id not in state.written:
                raise Refused(
                    "unwritten",
                    f"k.launch({step.kernel!r}) uses the output of an operator before that operator",
                )
            # Whether the kernel writes is decided by const-ness, when its signature is known.
            state.written.add(storage.id)


# -------------------------------------------------------------------------------------------- outputs


def _check_outputs(plan: LaunchPlan, workload: WorkloadSpec, *, exact_layout: bool) -> None:
    if len(plan.outputs) != len(workload.outputs):
        raise Refused(
            "outputs", f"plan() returns {len(plan.outputs)} tensors, the reference {len(workload.outputs)}"
        )
    launched = {
        plan.tensors[tensor].storage
        for step in plan.steps
        if isinstance(step, LaunchStep)
        for arg in step.args
        for tensor in tensors_of(arg)
    }
    used: set[int] = set()
    for index, (output, spec) in enumerate(zip(plan.outputs, workload.outputs, strict=True)):
        if output >= len(plan.tensors):
            raise Refused("plan_form", f"output {index} is tensor {output}, which does not exist")
        tensor, storage = plan.tensors[output], plan.storage_of(output)
        what = f"output {index}"
        if storage.role not in ("alloc", "zeros", "op"):
            origin = f"{storage.role} {storage.name}" if storage.name else storage.role
            raise Refused("outputs", f"{what} looks at {origin}; return a fresh buffer (k.empty) instead")
        if storage.id in used:
            raise Refused("outputs", f"{what} shares its memory with another output")
        used.add(storage.id)
        if exact_layout:
            _check_layout(tensor, spec, what)
        if storage.id not in launched:
            raise Refused(
                "outputs", f"{what} is passed to no k.launch; every output needs a kernel that writes it"
            )


def _check_layout(tensor: Tensor, spec: TensorSpec, what: str) -> None:
    if (tensor.dtype, tensor.shape) != (spec.dtype, spec.shape):
        raise Refused(
            "outputs",
            f"{what} is {tensor.dtype} {_show(tensor.shape)}; the reference gives {spec.dtype} "
            f"{_show(spec.shape)}",
        )
    differs = any(n > 1 and a != b for n, a, b in zip(spec.shape, tensor.strides, spec.strides, strict=True))
    if differs and 0 not in spec.shape:
        raise Refused(
            "outputs", f"{what} has strides {_show(tensor.strides)}; the reference has {_show(spec.strides)}"
        )


def _show(extents: Sequence[int]) -> str:
    return f"({', '.join(str(extent) for extent in extents)})"
