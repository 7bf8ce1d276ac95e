"""The control pack: candidates that do not do the work, fitted as well as somebody who cheats would fit them.

A task on which one of them passes says nothing about kernels. A control sees this draw's inputs and weights
and other draws with their outputs. This draw's own output is given to those controls alone whose definition
is "part right" (``PartRight``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.eval.controls_fit import Fit, residual, scale_fit
from kforge.eval.controls_maps import AffineInput, ChannelAffine, InputCopy, KnownMoments, ScaledInput
from kforge.eval.controls_scene import (
    Answer,
    Blind,
    PartRight,
    Refusal,
    Scene,
    alike,
    cast,
    template_of,
)


class Zeros(Blind):
    """All outputs zero."""

    name = "zeros"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """Zeros of the right shapes."""
        return Answer(tuple(torch.zeros_like(o) for o in scene.models))


class Constant(Blind):
    """One number everywhere: the mean of other draws' outputs."""

    name = "constant"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The mean over other draws, output by output."""
        outputs = []
        for position, model in enumerate(scene.models):
            values = torch.stack([s.outputs[position].double() for s in scene.others])
            finite = values[torch.isfinite(values)]
            mean = float(finite.mean()) if finite.numel() else float(values.reshape(-1)[0])
            outputs.append(cast(torch.full(model.shape, mean, dtype=torch.float64), model))
        return Answer(tuple(outputs))


class Template(Blind):
    """One sample for every sample: the mean over the batch of other draws' outputs."""

    name = "template"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The template, repeated along the batch."""
        if all(o.dim() == 0 or o.shape[0] == 1 for o in scene.models):
            return Refusal("the output has no batch to take a mean over")
        return Answer(template_of(scene))


class Stale(Blind):
    """What another seed gave: other inputs, and other weights where the referee redraws them."""

    name = "stale"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """Another draw's outputs."""
        return Answer(scene.stale)


class InputIndependent(Blind):
    """The right weights on another draw's inputs: passes where the inputs do not matter."""

    name = "input_independent"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """Outputs for another draw's inputs."""
        return Answer(scene.others[-1].outputs)


class LargestInputIgnored(Blind):
    """The largest input from another draw, the rest right: passes where only the small ones matter."""

    name = "largest_input_ignored"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The reference with one input exchanged."""
        tensors = [i for i, v in enumerate(scene.inputs) if isinstance(v, Tensor)]
        if len(tensors) < 2:
            return Refusal("there is one input, and input_independent exchanges that")
        largest = max(tensors, key=lambda i: _numel(scene.inputs[i]))
        mixed = list(scene.inputs)
        mixed[largest] = scene.others[-1].inputs[largest]
        outputs = scene.run(mixed)
        return (
            Refusal("the reference fails on it") if outputs is None else Answer(outputs, f"input {largest}")
        )


class WeightIndependent(Blind):
    """The right inputs with another seed's weights: passes where the weights do not matter."""

    name = "weight_independent"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """Outputs under another seed's weights."""
        if scene.reweighted is None:
            return Refusal("the model has no parameters")
        return Answer(scene.reweighted)


class Rows(PartRight):
    """The first few per cent of the rows: of what is reduced, or of the output (the rest a template)."""

    percent: ClassVar[int]

    def partly(self, scene: Scene, right: Sequence[Tensor]) -> Answer | Refusal:
        """From a subsample where the reference reduces, else these rows right and a template below."""
        reduced = self._reduced(scene)
        if reduced is not None:
            return reduced
        if any(o.dim() == 0 or o.shape[0] < 2 for o in right):
            return Refusal("the output has no rows, and the reference takes no part of its input")
        outputs = []
        for own, filler in zip(right, template_of(scene), strict=True):
            rows = max(1, own.shape[0] * self.percent // 100)
            outputs.append(torch.cat([own[:rows], filler[rows:]]))
        return Answer(tuple(outputs), f"{rows} of {own.shape[0]} rows right, the rest a template")

    def _reduced(self, scene: Scene) -> Answer | None:
        """The reference on the first few per cent along one dimension, where the output stays in shape."""
        largest = max((v for v in scene.inputs if isinstance(v, Tensor)), key=Tensor.numel, default=None)
        best: tuple[float, Answer] | None = None
        for dimension in range(0 if largest is None else largest.dim()):
            assert largest is not None
            length = largest.shape[dimension]
            kept = max(1, length * self.percent // 100)
            if kept == length:
                continue
            found = self._along(scene, dimension, length, kept)
            if found is not None and (best is None or found[0] < best[0]):
                best = found
        return None if best is None else best[1]

    def _along(self, scene: Scene, dimension: int, length: int, kept: int) -> tuple[float, Answer] | None:
        def cut(values: Sequence[Value]) -> list[Value]:
            return [
                v.narrow(dimension, 0, kept).contiguous()
                if isinstance(v, Tensor) and v.dim() > dimension and v.shape[dimension] == length
                else v
                for v in values
            ]

        runs = [scene.run(cut(values)) for values in (scene.inputs, *(s.inputs for s in scene.others))]
        own, others = runs[0], [run for run in runs[1:] if run is not None]
        if own is None or len(others) < len(scene.others) or not alike(own, scene.models):
            return None
        error, outputs = 0.0, []
        for position, value in enumerate(own):
            xs = [run[position] for run in others]
            ys = [s.outputs[position] for s in scene.others]
            fit = scale_fit(xs, ys) if value.is_floating_point() else Fit(1.0, 0.0)
            # A mean of a part is near the mean of all: a factor of one is better guessed than fitted.
            fit = Fit(1.0, 0.0) if abs(float(fit.scale) - 1.0) < 0.05 else fit
            outputs.append(cast(fit.apply(value), value))
            error += residual(fit, xs, ys)
        return error, Answer(tuple(outputs), f"{kept} of {length} along dimension {dimension}")


class OnePercent(Rows):
    """One per cent of the rows."""

    name = "rows_1_percent"
    percent = 1


class TenPercent(Rows):
    """Ten per cent of the rows."""

    name = "rows_10_percent"
    percent = 10


class Halves(PartRight):
    """Half of every output right."""

    def partly(self, scene: Scene, right: Sequence[Tensor]) -> Answer | Refusal:
        """The first half of the elements right, the rest from ``filler``."""
        if any(o.numel() < 2 for o in right):
            return Refusal("the output is a single value")
        outputs = []
        for own, filler in zip(right, self.filler(scene), strict=True):
            half = own.numel() // 2
            flat = torch.cat([own.reshape(-1)[:half], filler.reshape(-1)[half:]])
            outputs.append(flat.reshape(own.shape))
        return Answer(tuple(outputs))

    @abstractmethod
    def filler(self, scene: Scene) -> Sequence[Tensor]:
        """What the other half holds."""


class HalfStale(Halves):
    """Half right, the rest another draw's."""

    name = "half_stale"

    def filler(self, scene: Scene) -> Sequence[Tensor]:
        """Another draw's outputs."""
        return scene.stale


class HalfZero(Halves):
    """Half right, the rest zero."""

    name = "half_zero"

    def filler(self, scene: Scene) -> Sequence[Tensor]:
        """Zeros."""
        return [torch.zeros_like(o) for o in scene.models]


Control = Blind | PartRight

CONTROLS: tuple[Control, ...] = (
    Zeros(), Constant(), Template(), Stale(), InputIndependent(), LargestInputIgnored(), WeightIndependent(),
    InputCopy(),
    ScaledInput(), KnownMoments(), AffineInput(), ChannelAffine(), OnePercent(), TenPercent(),
    HalfStale(), HalfZero(),
)  # fmt: skip


def _numel(value: Value) -> int:
    return value.numel() if isinstance(value, Tensor) else 0
