"""A task's shapes, parameters and constants: all that anyone but the verifier gets to know."""

from __future__ import annotations

import contextlib
import math
from typing import get_args

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kforge.data.tasks.loader import LoadedTask, LoadedWorkload, Value
from kforge.errors import TaskError
from kforge.types import DType, InputKind, InputSpec, TaskDescription, TensorSpec, WorkloadSpec

_MAX_DEPTH = 8


def describe(loaded: LoadedTask) -> TaskDescription:
    """Describe a loaded task: names, shapes, strides in elements, constructor constants; no values.

    Nothing of full size is allocated where the task's code runs on torch's ``meta`` device; a task
    that reads values while it builds its tensors is run for real instead.

    Raises:
        TaskError: the task's code fails, or it uses tensors that kforge has no name for.
    """
    return TaskDescription(
        id=loaded.task.id,
        title=loaded.task.title,
        size=loaded.size,
        hash=loaded.hash,
        source=loaded.task.source,
        workloads=tuple(describe_workload(workload) for workload in loaded.workloads),
    )


def describe_workload(workload: LoadedWorkload) -> WorkloadSpec:
    """Describe one workload; see ``describe``."""
    kinds = workload.input_kinds
    # Code that looks at values cannot run on meta; some does so in its constructor only. If the code is
    # wrong, the last run says so.
    for construct_on in ("meta", "cpu"):
        with contextlib.suppress(TaskError):
            return _describe_on("meta", workload, kinds, construct_on)
    return _describe_on("cpu", workload, kinds, "cpu")


def _describe_on(
    device: str, workload: LoadedWorkload, kinds: dict[str, InputKind], construct_on: str
) -> WorkloadSpec:
    model, init = workload.construct(0, construct_on)
    if construct_on != device:
        model = model.to(device)
    with torch.device(device):
        inputs = workload.named_inputs(0, device)
        outputs, returns_tuple, flops = _run_counted(workload, model, list(inputs.values()))
    place = str(workload.path)
    return WorkloadSpec(
        name=workload.name,
        inputs=tuple(_input_spec(name, kinds[name], value, place) for name, value in inputs.items()),
        parameters=_state(model, "parameters", place),
        buffers=_state(model, "buffers", place),
        init={name: _plain(value) for name, value in init.items() if _is_json(value)},
        outputs=tuple(
            _tensor_spec(f"out{position}", output, place) for position, output in enumerate(outputs)
        ),
        returns_tuple=returns_tuple,
        flops=flops,
    )


def _run_counted(
    workload: LoadedWorkload, model: nn.Module, values: list[Value]
) -> tuple[tuple[Tensor, ...], bool, int]:
    """Run the model once and count the operations of its contractions; 0 where torch cannot count them."""
    counter = FlopCounterMode(display=False)
    with contextlib.suppress(TaskError):
        with counter:
            outputs, returns_tuple = workload.run(model, values)
        return outputs, returns_tuple, int(counter.get_total_flops())
    # The counter or the model failed; without the counter it shows which.
    return *workload.run(model, values), 0


def _input_spec(name: str, kind: InputKind, value: Value, place: str) -> InputSpec:
    if isinstance(value, Tensor):
        if any(stride == 0 and size > 1 for size, stride in zip(value.shape, value.stride(), strict=True)):
            raise TaskError(
                f"{place}: input {name!r} is an expanded view, whose elements share memory.",
                "Call .contiguous() on it in get_inputs().",
            )
        return InputSpec(name=name, kind=kind, tensor=_tensor_spec(name, value, place))
    return InputSpec(name=name, kind=kind, constant=value)


def _state(model: nn.Module, what: str, place: str) -> tuple[TensorSpec, ...]:
    """Parameters or buffers under their ``state_dict`` names, tied ones under each of their names."""
    named = (
        model.named_parameters(remove_duplicate=False)
        if what == "parameters"
        else model.named_buffers(remove_duplicate=False)
    )
    return tuple(_tensor_spec(name, tensor, place) for name, tensor in named)


def _tensor_spec(name: str, tensor: Tensor, place: str) -> TensorSpec:
    text = str(tensor.dtype).removeprefix("torch.")
    for dtype in get_args(DType):
        if text == dtype and tensor.layout == torch.strided:
            known: DType = dtype
            return TensorSpec(name, known, tuple(tensor.shape), tuple(tensor.stride()))
    raise TaskError(
        f"{place}: tensor {name!r} is {text} ({tensor.layout}); kforge knows only dense "
        f"{', '.join(get_args(DType))}.",
        "Convert it to one of those types in get_inputs() or Model.",
    )


def _is_json(value: object, depth: int = 0) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(_is_json(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item, depth + 1) for key, item in value.items())
    return value is None or isinstance(value, bool | int | str)


def _plain(value: object) -> object:
    """Tuples as lists, all the way down."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
