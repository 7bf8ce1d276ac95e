"""One forward call over shared memory: what candidate, eager and the empty module all do alike.

The arena holds a control block, what the child tells of its outputs, several places for a set of inputs, and
two for the outputs. The verifier writes values and the choice of places while the child stands still; the
child wraps the inputs without a copy, calls its module, copies the result out and tells its layout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kforge.eval.arena import Arena, Slot
from kforge.eval.open.store import Store, shaped
from kforge.eval.runner_main import LaunchRefused

CONTROL = Slot(0, 4096)
TOLD = Slot(4096, 64 * 1024)
HEAD_BYTES = CONTROL.size + TOLD.size
MAX_OUTPUTS = 64
_WORDS = 2  # of the control block: which set of inputs, which set of outputs

Forward = Callable[[list[Any]], object]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of ``forward``: a tensor's layout, or a constant."""

    dtype: torch.dtype | None
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    constant: Any

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Argument:
        """What ``arguments_of`` made."""
        if "constant" in document:
            return cls(None, (), (), document["constant"])
        dtype: torch.dtype = getattr(torch, document["dtype"])
        return cls(dtype, tuple(document["shape"]), tuple(document["strides"]), None)


def arguments_of(values: Sequence[object]) -> list[dict[str, Any]]:
    """Arguments as plain data; of tensors their layout, never their values."""
    return [
        {
            "dtype": str(value.dtype).removeprefix("torch."),
            "shape": list(value.shape),
            "strides": list(value.stride()),
        }
        if isinstance(value, Tensor)
        else {"constant": value}
        for value in values
    ]


class Calls:
    """The child's end.

    Args:
        job: ``arguments``, ``inputs`` (sets of slots), ``outputs`` (sets of slots).
        arena: mapped; holds the control block and what is told.
        store: holds the values.
    """

    def __init__(self, job: dict[str, Any], arena: Arena, store: Store) -> None:
        self._arena, self._store = arena, store
        self._arguments = [Argument.from_json(a) for a in job["arguments"]]
        self._inputs = [[Slot(*s) for s in places] for places in job["inputs"]]
        self._outputs = [[Slot(*s) for s in places] for places in job["outputs"]]
        self._control = torch.frombuffer(arena.view(CONTROL), dtype=torch.int64)
        self._told: list[object] | None = None

    def forward(self, call: Forward) -> None:
        """Do what is asked for in the control block."""
        chosen, target = (int(self._control[word]) for word in range(_WORDS))
        result = call(self._wrapped(self._inputs[chosen]))
        outputs = list(result) if isinstance(result, tuple | list) else [result]
        self._hand_out(outputs, self._outputs[target])

    def _wrapped(self, slots: list[Slot]) -> list[Any]:
        values: list[Any] = []
        places = iter(slots)
        for argument in self._arguments:
            if argument.dtype is None:
                values.append(argument.constant)
            else:
                slot = next(places)
                values.append(shaped(self._store, slot, argument.dtype, argument.shape, argument.strides))
        return values

    def _hand_out(self, outputs: list[object], slots: list[Slot]) -> None:
        layout: list[object] = []
        for position, output in enumerate(outputs):
            if not isinstance(output, Tensor):
                raise LaunchRefused(f"forward returned {type(output).__name__}, not tensors")
            strides = [] if output.is_sparse else list(output.stride())
            layout.append([str(output.dtype), list(output.shape), strides])
            if position < len(slots):
                _copy_out(self._store, output, slots[position])
        self._store.finish()
        if layout != self._told:
            self.tell({"outputs": layout[:MAX_OUTPUTS]})
            self._told = layout

    def tell(self, document: dict[str, Any]) -> None:
        """Leave words for the verifier, who takes them for a claim."""
        data = json.dumps(document).encode()
        if len(data) + 1 > TOLD.size:
            raise LaunchRefused("what the process tells of itself is too long")
        view = self._arena.view(TOLD)
        view[: len(data)] = data
        view[len(data)] = 0


def span_bytes(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> int:
    """Bytes from a tensor's first element to its last; strides count elements."""
    if 0 in shape:
        return 0
    return (1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))) * itemsize


def _copy_out(store: Store, output: Tensor, slot: Slot) -> None:
    """Copy with the layout the output has; what does not fit is not copied, and its layout tells."""
    if output.is_sparse:
        return
    size = span_bytes(output.shape, output.stride(), output.itemsize)
    if not 0 < size <= slot.size:
        return
    shaped(store, Slot(slot.offset, size), output.dtype, output.shape, output.stride()).copy_(output)
