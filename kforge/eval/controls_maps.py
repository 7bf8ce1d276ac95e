"""Controls that map single input values to output values, fitted on other draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.eval.controls_fit import Fit, affine_fit, candidates_for, channel_fit, residual, scale_fit
from kforge.eval.controls_scene import Answer, Blind, Refusal, Scene, cast


class InputCopy(Blind):
    """An input as it is."""

    name = "input_copy"
    is_map = True

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The input that comes nearest on other draws."""
        return _from_inputs(scene, lambda xs, ys: Fit(1.0, 0.0), needs_float=False)


class ScaledInput(Blind):
    """An input times one number, by least squares on other draws."""

    name = "input_times_constant"
    is_map = True

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The best scaled input."""
        return _from_inputs(scene, scale_fit)


class KnownMoments(Blind):
    """(x - mean) / deviation with the moments of the generator, taken from other draws."""

    name = "known_moments"
    is_map = True

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
    is_map = True

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The best affine map of an input."""
        return _from_inputs(scene, affine_fit)


class ChannelAffine(Blind):
    """a x + b with an a and a b for every channel (dimension 1), by least squares on other draws."""

    name = "affine_per_channel"
    is_map = True

    def answer(self, scene: Scene) -> Answer | Refusal:
        """The best affine map per channel."""
        if any(o.dim() < 2 for o in scene.models):
            return Refusal("the output has no channels (a second dimension)")
        return _from_inputs(scene, channel_fit)


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
        outputs.append(cast(best[2].apply(_shaped(scene.inputs[best[1]], model)), model))
        used.append(f"input {best[1]}{best[2].words()}")
    return Answer(tuple(outputs), ", ".join(used))


def _shaped(value: Value, model: Tensor) -> Tensor:
    assert isinstance(value, Tensor)
    return value.double().reshape(model.shape)
