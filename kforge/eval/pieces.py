"""Full-size truths piece by piece: stretches of the batch, where the reference treats every sample alone.

An fp64 reference with its precision model needs some fifty bytes for every value. Tasks of billions of values
do not fit a card that way, so theirs is computed for a few samples at a time. That is only right where no
sample's output depends on another, which is measured on the reference itself, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.errors import TaskError

# Tasks with more input and output values than the first are cut into pieces of about the second.
WHOLE_VALUES = 1 << 27
PIECE_VALUES = 1 << 26
# Slices of one fp32 result may differ by the order of its sums; statistics over a batch differ by far more.
ROUNDING = 2e-5

Run = Callable[[Sequence[Value]], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the batch.

    Attributes:
        start: first sample; ``stop`` is one behind the last.
        sliced: for every input whether it is cut along the batch.
    """

    start: int
    stop: int
    sliced: tuple[bool, ...]

    def inputs(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """The inputs of these samples; what is not cut is passed whole."""
        return tuple(
            value[self.start : self.stop] if cut and isinstance(value, Tensor) else value
            for value, cut in zip(values, self.sliced, strict=True)
        )

    def output(self, value: Tensor) -> Tensor:
        """These samples of an output."""
        return value[self.start : self.stop]


def pieces_of(inputs: Sequence[Value], outputs: Sequence[Tensor], run: Run) -> tuple[Piece, ...]:
    """How to cut a reference, or no pieces where it is small or its samples depend on each other.

    Args:
        inputs: of one draw.
        outputs: of the reference on ``inputs``, in its own precision.
        run: that reference.
    """
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    values = sum(t.numel() for t in (*tensors, *outputs))
    if values <= WHOLE_VALUES or any(o.dim() == 0 for o in outputs):
        return ()
    batch = outputs[0].shape[0]
    if batch < 2 or any(o.shape[0] != batch for o in outputs):
        return ()
    leading = [
        isinstance(v, Tensor) and v.dim() > 0 and v.shape[0] == batch and v.numel() > batch for v in inputs
    ]
    if True not in leading:
        return ()
    first = [position == leading.index(True) for position in range(len(leading))]
    for sliced in dict.fromkeys((tuple(leading), tuple(first))):
        cut = sum(
            v.numel() for v, c in zip(inputs, sliced, strict=True) if c and isinstance(v, Tensor)
        ) + sum(o.numel() for o in outputs)
        step = max(1, PIECE_VALUES * batch // cut)
        few = min(step, batch - 1)
        # The first samples of a running sum do not know of the others; the last ones do.
        ends = (Piece(0, few, sliced), Piece(batch - few, batch, sliced))
        if all(_alone(piece, inputs, outputs, run) for piece in ends):
            return tuple(Piece(at, min(at + step, batch), sliced) for at in range(0, batch, step))
    return ()


def separable(inputs: Sequence[Value], outputs: Sequence[Tensor], run: Run) -> tuple[bool, ...] | None:
    """Which inputs are cut along the batch for a reference that treats every sample alone; None for others.

    Args:
        inputs: of one draw.
        outputs: of the reference on ``inputs``, in its own precision.
        run: that reference.
    """
    if not outputs or any(o.dim() == 0 for o in outputs):
        return None
    batch = outputs[0].shape[0]
    if batch < 2 or any(o.shape[0] != batch for o in outputs):
        return None
    cut = tuple(
        isinstance(v, Tensor) and v.dim() > 0 and v.shape[0] == batch and v.numel() > batch for v in inputs
    )
    ends = (Piece(0, 1, cut), Piece(batch - 1, batch, cut))
    return cut if any(cut) and all(_alone(piece, inputs, outputs, run) for piece in ends) else None


def _alone(piece: Piece, inputs: Sequence[Value], outputs: Sequence[Tensor], run: Run) -> bool:
    """Whether the reference gives a piece of the batch what it gives it within the whole."""
    try:
        again = run(piece.inputs(inputs))
    except TaskError:  # its code relies on the batch that it was written for
        return False
    return len(again) == len(outputs) and all(
        _same(piece.output(whole), part) for whole, part in zip(outputs, again, strict=True)
    )


def _same(whole: Tensor, part: Tensor) -> bool:
    if whole.shape != part.shape or whole.dtype != part.dtype:
        return False
    if not whole.is_floating_point():
        return bool((whole == part).all())
    expected = whole.double()
    size = expected.square().mean().sqrt()
    return bool(((part.double() - expected).abs() <= ROUNDING * (size + expected.abs())).all())
