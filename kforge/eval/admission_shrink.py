"""The shrink rule: a full-size task cut until a small machine can check it, the batch before all else.

Nothing is known of any task by name. Constants of the file are halved one at a time on torch's ``meta``
device, and what changes decides: a constant that shortens dimension 0 of inputs only is a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from kforge.data.tasks.loader import LoadedWorkload, Value
from kforge.data.tasks.randomness import own_randomness
from kforge.errors import TaskError

Shapes = tuple[tuple[int, ...] | None, ...]
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ShrinkRule:
    """Until when a task is cut.

    Attributes:
        tensor_bytes: of inputs and outputs together.
        parameter_bytes: of parameters and buffers together.
        flops: of contractions in one forward call.
        values: that all operators of one forward call write.
        least_batch: a batch is not cut below this; other dimensions are cut then.
        least_length: nor is any other dimension cut below this.
    """

    tensor_bytes: int = 16 * _MIB
    parameter_bytes: int = 512 * _MIB
    flops: int = 600_000_000
    values: int = 1 << 22
    least_batch: int = 4
    least_length: int = 8

    def words(self) -> str:
        """The rule for a reader."""
        return (
            "constants of the file are halved until inputs and outputs hold at most "
            f"{self.tensor_bytes // _MIB} MiB, parameters {self.parameter_bytes // _MIB} MiB, and one "
            f"forward call does at most {self.flops / 1e9:g} GFLOP of contractions and writes at most "
            f"{self.values:,} values; batch first, not below {self.least_batch}; then what leaves the "
            f"parameters alone, then the rest, not below {self.least_length}"
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What one forward call takes, found without values."""

    inputs: Shapes
    parameters: Shapes
    tensor_bytes: int
    parameter_bytes: int
    flops: int
    values: int

    def excess(self, rule: ShrinkRule) -> float:
        """The largest of its figures over the rule's; at most one where it fits."""
        return max(
            self.tensor_bytes / rule.tensor_bytes,
            self.parameter_bytes / rule.parameter_bytes,
            self.flops / rule.flops,
            self.values / rule.values,
        )

    def total(self, rule: ShrinkRule) -> float:
        """All figures over the rule's, summed: falls with every useful cut."""
        return (
            self.tensor_bytes / rule.tensor_bytes
            + self.parameter_bytes / rule.parameter_bytes
            + self.flops / rule.flops
            + self.values / rule.values
        )


@dataclass(frozen=True, slots=True)
class _Knob:
    """A constant of the file, or one place of a tuple of integers."""

    name: str
    place: int | None


def shrink(workload: LoadedWorkload, rule: ShrinkRule) -> tuple[LoadedWorkload, dict[str, tuple[str, str]]]:
    """Cut a workload until it fits the rule, or until nothing is left to cut.

    Returns:
        the workload, and the constants that were cut: name to (as written, as cut).

    Raises:
        TaskError: the task's code fails as it is, or it does not fit however it is cut.
    """
    now, cost = workload, cost_of(workload)
    before = _constants(workload)
    while cost.excess(rule) > 1.0:
        found = _best_cut(now, cost, rule)
        if found is None:
            raise TaskError(
                f"{workload.path}: workload {workload.name!r} is {cost.excess(rule):.3g} times what the "
                "shrink rule allows, and no constant of the file is left to halve.",
                "Give the file a size of its own with SIZES, and pass --size with its name.",
            )
        now, cost = found
    after = _constants(now)
    changed = {n: (str(before[n]), str(after[n])) for n in now.overrides if before.get(n) != after.get(n)}
    return now, changed


def cost_of(workload: LoadedWorkload) -> Cost:
    """Shapes, bytes and work of one forward call on the ``meta`` device.

    Raises:
        TaskError: the task's code fails there.
    """
    try:
        return _cost(workload, "meta")
    except TaskError:  # a constructor may read values
        return _cost(workload, "cpu")


def _cost(workload: LoadedWorkload, construct_on: str) -> Cost:
    model = workload.construct(0, construct_on)[0].to("meta")
    counter, flops = _Written(), FlopCounterMode(display=False)
    with torch.device("meta"):
        values = list(workload.named_inputs(0, "meta").values())
        with flops, counter:
            outputs = workload.run(model, values)[0]
    state = [*model.parameters(), *model.buffers()]
    return Cost(
        inputs=_shapes(values),
        parameters=_shapes(state),
        tensor_bytes=_bytes([*values, *outputs]),
        parameter_bytes=_bytes(state),
        flops=int(flops.get_total_flops()),
        values=counter.values,
    )


class _Written(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the values that operators write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operator returns
        result = func(*args, **(kwargs or {}))
        given = {a.untyped_storage()._cdata for a in args if isinstance(a, Tensor)}
        for each in result if isinstance(result, tuple | list) else (result,):
            # A view writes nothing; below autograd only its storage shows that it is one.
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given:
                self.values += each.numel()
        return result


def _best_cut(now: LoadedWorkload, cost: Cost, rule: ShrinkRule) -> tuple[LoadedWorkload, Cost] | None:
    """The gentlest halving that helps; of equally gentle ones the most useful."""
    best: tuple[int, float, LoadedWorkload, Cost] | None = None
    for smaller in _halved(now, rule):
        with contextlib.suppress(TaskError):
            then = cost_of(smaller)
            rank = _rank(cost, then, rule)
            if rank is None or then.total(rule) >= cost.total(rule):
                continue
            if best is None or (rank, then.total(rule)) < best[:2]:
                best = (rank, then.total(rule), smaller, then)
    return None if best is None else best[2:]


def _rank(before: Cost, after: Cost, rule: ShrinkRule) -> int | None:
    """0 for a batch, 1 where parameters stay, 2 for the rest; None where no input changed, or too far."""
    if len(after.inputs) != len(before.inputs) or after.inputs == before.inputs:
        return None
    batch = True
    for old, new in zip(before.inputs, after.inputs, strict=True):
        if old is None or new is None or len(old) != len(new):
            if old != new:
                return None
            continue
        for dimension, (was, length) in enumerate(zip(old, new, strict=True)):
            if length == was:
                continue
            if length < (rule.least_batch if dimension == 0 else rule.least_length):
                return None
            batch = batch and dimension == 0
    if after.parameters != before.parameters:
        return 2
    return 0 if batch else 1


def _halved(workload: LoadedWorkload, rule: ShrinkRule) -> Iterator[LoadedWorkload]:
    constants = _constants(workload)
    for knob in _knobs(constants):
        value = constants[knob.name]
        smaller: object
        if knob.place is None:
            assert isinstance(value, int)
            smaller = max(value // 2, 1)
        else:
            assert isinstance(value, tuple | list)
            smaller = type(value)(v // 2 if i == knob.place else v for i, v in enumerate(value))
        overrides = {**workload.overrides, knob.name: smaller}
        yield replace(workload, overrides=overrides, probe=overrides)


def _knobs(constants: Mapping[str, object]) -> Iterator[_Knob]:
    for name, value in constants.items():
        if _countable(value):
            yield _Knob(name, None)
        elif isinstance(value, tuple | list):
            for place, each in enumerate(value):
                if _countable(each):
                    yield _Knob(name, place)


def _countable(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 2


def _constants(workload: LoadedWorkload) -> dict[str, object]:
    """Integers and tuples of them that the file assigns at the top level, with the workload's overrides."""
    assigned = frozenset[str]().union(*(names for _, names in workload.program.statements))
    with own_randomness("cpu"):
        namespace = workload.program.run(workload.overrides)
    return {
        name: namespace[name]
        for name in sorted(assigned)
        if isinstance(namespace.get(name), int | tuple | list) and not isinstance(namespace[name], bool)
    }


def _shapes(values: Sequence[Value]) -> Shapes:
    return tuple(tuple(v.shape) if isinstance(v, Tensor) else None for v in values)


def _bytes(values: Sequence[Value]) -> int:
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, Tensor))
