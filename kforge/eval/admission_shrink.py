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
# Smaller workloads, each with the constant that was halved as it was before.
Ways = Callable[[LoadedWorkload], Iterator[tuple[LoadedWorkload, int]]]
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ShrinkRule:
    """Until when a task is cut.

    Attributes:
        tensor_bytes: of inputs and outputs together.
        outputs: values that come out.
        parameter_bytes: of parameters and buffers together.
        flops: of contractions in one forward call.
        values: that all operators of one forward call write.
        least_batch: a batch is not cut below this; other dimensions are cut then.
        least_length: nor is any other dimension cut below this.
    """

    tensor_bytes: int = 16 * _MIB
    outputs: int = 1 << 22
    parameter_bytes: int = 128 * _MIB
    flops: int = 300_000_000
    values: int = 1 << 22
    least_batch: int = 4
    least_length: int = 8

    def words(self) -> str:
        """The rule for a reader; what KernelBench's referee may have is said beside it."""
        large = KERNELBENCH_RULE
        return (
            "constants of the file are halved until inputs and outputs hold at most "
            f"{self.tensor_bytes // _MIB} MiB, outputs {self.outputs:,} values, parameters "
            f"{self.parameter_bytes // _MIB} MiB, and one forward call does at most {self.flops / 1e9:g} "
            f"GFLOP of contractions and writes at most {self.values:,} values; batch first, not below "
            f"{self.least_batch}; then what leaves the parameters alone, then the rest, the largest first, "
            f"not below {self.least_length}; what cannot be cut so far is checked as small as it gets; "
            f"KernelBench's referee, without fp64, judges at up to {large.tensor_bytes // _MIB} MiB, "
            f"{large.flops / 1e9:g} GFLOP and {large.values:,} values"
        )


# Its verdicts depend on sizes: means over much data concentrate. So there little but the batch is cut.
KERNELBENCH_RULE = ShrinkRule(
    tensor_bytes=320 * _MIB,
    outputs=1 << 22,
    parameter_bytes=512 * _MIB,
    flops=12_000_000_000,
    values=80_000_000,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one forward call takes, found without values."""

    inputs: Shapes
    parameters: Shapes
    tensor_bytes: int
    outputs: int
    parameter_bytes: int
    flops: int
    values: int

    def excess(self, rule: ShrinkRule) -> float:
        """The largest of its figures over the rule's; at most one where it fits."""
        return max(self._shares(rule))

    def total(self, rule: ShrinkRule) -> float:
        """All figures over the rule's, summed: falls with every useful cut."""
        return sum(self._shares(rule))

    def _shares(self, rule: ShrinkRule) -> tuple[float, ...]:
        return (
            self.tensor_bytes / rule.tensor_bytes,
            self.outputs / rule.outputs,
            self.parameter_bytes / rule.parameter_bytes,
            self.flops / rule.flops,
            self.values / rule.values,
        )


@dataclass(frozen=True, slots=True)
class _Knob:
    """A constant of the file, or one place of a tuple of integers."""

    name: str
    place: int | None
    value: int


def shrink(workload: LoadedWorkload, rule: ShrinkRule) -> tuple[LoadedWorkload, dict[str, tuple[str, str]]]:
    """Cut a workload until it fits the rule, or until nothing is left to cut.

    Returns:
        the workload, and the constants that were cut: name to (as written, as cut).

    Raises:
        TaskError: the task's code fails as it is.
    """
    now, cost = workload, cost_of(workload)
    before = _constants(workload)
    while cost.excess(rule) > 1.0:
        # Tasks that broadcast one dimension over another of equal length fail unless both are cut.
        found = _best_cut(now, cost, rule, _halved) or _best_cut(now, cost, rule, _halved_together)
        if found is None:
            break  # as small as it gets; deadline and memory limit decide whether that is small enough
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
        outputs=sum(output.numel() for output in outputs),
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


def _best_cut(
    now: LoadedWorkload, cost: Cost, rule: ShrinkRule, ways: Ways
) -> tuple[LoadedWorkload, Cost] | None:
    """The gentlest halving that helps; of equally gentle ones that of the largest constant."""
    best: tuple[int, int, float, LoadedWorkload, Cost] | None = None
    for smaller, value in ways(now):
        with contextlib.suppress(TaskError):
            then = cost_of(smaller)
            rank = _rank(cost, then, rule)
            if rank is None or then.total(rule) >= cost.total(rule):
                continue
            key = (rank, -value, then.total(rule))
            if best is None or key < best[:3]:
                best = (*key, smaller, then)
    return None if best is None else best[3:]


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


def _halved(workload: LoadedWorkload) -> Iterator[tuple[LoadedWorkload, int]]:
    """The workload with each of its constants halved in turn."""
    constants = _constants(workload)
    for knob in _knobs(constants):
        yield _turned(workload, constants, [knob]), knob.value


def _halved_together(workload: LoadedWorkload) -> Iterator[tuple[LoadedWorkload, int]]:
    """The workload with all constants of one value halved together, for each value that several have."""
    constants = _constants(workload)
    knobs = list(_knobs(constants))
    for value in sorted({knob.value for knob in knobs}):
        same = [knob for knob in knobs if knob.value == value]
        if len(same) > 1:
            yield _turned(workload, constants, same), value


def _turned(
    workload: LoadedWorkload, constants: Mapping[str, object], knobs: Sequence[_Knob]
) -> LoadedWorkload:
    overrides = dict(workload.overrides)
    for knob in knobs:
        overrides[knob.name] = _half(overrides.get(knob.name, constants[knob.name]), knob.place)
    return replace(workload, overrides=overrides, probe=overrides)


def _half(value: object, place: int | None) -> object:
    if isinstance(value, tuple | list):
        return type(value)(v // 2 if i == place else v for i, v in enumerate(value))
    assert isinstance(value, int)
    return value // 2


def _knobs(constants: Mapping[str, object]) -> Iterator[_Knob]:
    for name, value in constants.items():
        if isinstance(value, int) and value >= 2:
            yield _Knob(name, None, value)
        elif isinstance(value, tuple | list):
            for place, each in enumerate(value):
                if isinstance(each, int) and not isinstance(each, bool) and each >= 2:
                    yield _Knob(name, place, each)


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
