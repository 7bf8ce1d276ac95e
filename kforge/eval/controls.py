"""The control pack: candidates that do not do the work, fitted as well as somebody who cheats would fit them.

A task on which one of them passes says nothing about kernels. A control sees this draw's inputs and weights
and other draws with their outputs. This draw's own output is given to those controls alone whose definition
is "part right" (``PartRight``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.eval.controls_fit import Fit, affine_fit, candidates_for, channel_fit, residual, scale_fit


@dataclass(frozen=True, slots=True)
class Sample:
    """One draw with its outputs."""

    inputs: tuple[Value, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a control may look at.

    Attributes:
        inputs: of this draw.
        others: other inputs under this draw's weights: what constants are fitted on.
        stale: outputs of another draw altogether.
        reweighted: outputs for these inputs under other weights; None where the model has none.
        run: the reference under this draw's weights, on any inputs; None where it cannot take them.
    """

    inputs: tuple[Value, ...]
    others: tuple[Sample, ...]
    stale: tuple[Tensor, ...]
    reweighted: tuple[Tensor, ...] | None
    run: Callable[[Sequence[Value]], tuple[Tensor, ...] | None]

    @property
    def models(self) -> tuple[Tensor, ...]:
        """Tensors with the shapes and types that outputs have."""
        return self.others[0].outputs


@dataclass(frozen=True, slots=True)
class Answer:
    """A control's outputs, and what exactly it did where its name does not say it."""

    outputs: tuple[Tensor, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a control cannot be tried here."""

    reason: str


class Blind(ABC):
    """A way not to do the work that never sees a right output of this draw."""

    name: ClassVar[str]

    @abstractmethod
    def answer(self, scene: Scene) -> Answer | Refusal:
        """Outputs for the scene's draw."""


class PartRight(ABC):
    """A control whose definition is that part of its output is right."""

    name: ClassVar[str]

    @abstractmethod
    def partly(self, scene: Scene, right: Sequence[Tensor]) -> Answer | Refusal:
        """Outputs of which part is taken from ``right``."""


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
            outputs.append(_cast(torch.full(model.shape, mean, dtype=torch.float64), model))
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


class InputCopy(Blind):
    """An input as it is."""

    name = "input_copy"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The input that comes nearest on other draws."""
        return _from_inputs(scene, lambda xs, ys: Fit(1.0, 0.0), needs_float=False)


class ScaledInput(Blind):
    """An input times one number, by least squares on other draws."""

    name = "input_times_constant"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The best scaled input."""
        return _from_inputs(scene, scale_fit)


class KnownMoments(Blind):
    """(x - mean) / deviation with the moments of the generator, taken from other draws."""

    name = "known_moments"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The input normalised without looking at its own statistics."""

        def moments(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Fit:
            pooled = torch.stack(list(xs))
            deviation = float(pooled.std()) or 1.0
            return Fit(1.0 / deviation, -float(pooled.mean()) / deviation)

        return _from_inputs(scene, moments)


class AffineInput(Blind):
    """a x + b, by least squares on other draws."""

    name = "affine"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The best affine map of an input."""
        return _from_inputs(scene, affine_fit)


class ChannelAffine(Blind):
    """a x + b with an a and a b for every channel (dimension 1), by least squares on other draws."""

    name = "affine_per_channel"

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The best affine map per channel."""
        if any(o.dim() < 2 for o in scene.models):
            return Refusal("the output has no channels (a second dimension)")
        return _from_inputs(scene, channel_fit)


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
        if own is None or len(others) < len(scene.others) or not _like(own, scene.models):
            return None
        error, outputs = 0.0, []
        for position, value in enumerate(own):
            xs = [run[position] for run in others]
            ys = [s.outputs[position] for s in scene.others]
            fit = scale_fit(xs, ys) if value.is_floating_point() else Fit(1.0, 0.0)
            # A mean of a part is near the mean of all: a factor of one is better guessed than fitted.
            fit = Fit(1.0, 0.0) if abs(float(fit.scale) - 1.0) < 0.05 else fit
            outputs.append(_cast(fit.apply(value), value))
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


def template_of(scene: Scene) -> tuple[Tensor, ...]:
    """The mean over the batch of other draws' outputs, repeated along the batch."""
    outputs = []
    for position, model in enumerate(scene.models):
        mean = torch.stack([s.outputs[position].double() for s in scene.others]).mean(0)
        if model.dim():
            mean = mean.mean(0, keepdim=True).expand(model.shape)
        outputs.append(_cast(mean, model))
    return tuple(outputs)


def _cast(values: Tensor, model: Tensor) -> Tensor:
    """Values in the type of an output, rounded where that is an integer."""
    if not model.dtype.is_floating_point:
        values = values.nan_to_num(0.0, 0.0, 0.0).round()
    return values.to(model.dtype).contiguous()


def _like(found: Sequence[Tensor], models: Sequence[Tensor]) -> bool:
    return len(found) == len(models) and all(
        f.shape == m.shape and f.dtype == m.dtype for f, m in zip(found, models, strict=True)
    )


def _from_inputs(
    scene: Scene, fit: Callable[[Sequence[Tensor], Sequence[Tensor]], Fit], needs_float: bool = True
) -> Answer | Refusal:
    """For every output the input that fits it best on other draws, mapped."""
    outputs, used = [], []
    for position, model in enumerate(scene.models):
        if needs_float and not model.is_floating_point():
            return Refusal("the output holds integers")
        matching = candidates_for(scene.inputs, model)
        if not matching:
            return Refusal("no input has as many values as the output")
        best: tuple[float, int, Fit] | None = None
        for index in matching:
            xs = [_shaped(s.inputs[index], model) for s in scene.others]
            ys = [s.outputs[position].double() for s in scene.others]
            found = fit(xs, ys)
            error = residual(found, xs, ys)
            if best is None or error < best[0]:
                best = (error, index, found)
        assert best is not None
        outputs.append(_cast(best[2].apply(_shaped(scene.inputs[best[1]], model)), model))
        used.append(f"input {best[1]}{best[2].words()}")
    return Answer(tuple(outputs), ", ".join(used))


def _numel(value: Value) -> int:
    return value.numel() if isinstance(value, Tensor) else 0


def _shaped(value: Value, model: Tensor) -> Tensor:
    assert isinstance(value, Tensor)
    return value.double().reshape(model.shape)
