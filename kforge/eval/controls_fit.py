"""Least squares for controls: outputs of other draws from their inputs, in fp64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value

MOST_FITTED = 1 << 20


@dataclass(frozen=True, slots=True)
class Fit:
    """``scale * x + offset``; numbers, or tensors that broadcast over x."""

    scale: float | Tensor
    offset: float | Tensor

    def apply(self, x: Tensor) -> Tensor:
        """The map's values, in fp64."""
        return x.double() * self.scale + self.offset

    def words(self) -> str:
        """For a person: `` times 2 plus 0.5``; empty for the identity."""
        if isinstance(self.scale, Tensor) or isinstance(self.offset, Tensor):
            return " with a factor and an offset per channel"
        said = f" times {self.scale:.4g}" if self.scale != 1.0 else ""
        return said + (f" plus {self.offset:.4g}" if self.offset != 0.0 else "")


def candidates_for(inputs: Sequence[Value], model: Tensor) -> list[int]:
    """Positions of the inputs that can stand for an output: as many values, and at least one."""
    return [
        i for i, v in enumerate(inputs) if isinstance(v, Tensor) and v.numel() == model.numel() and v.numel()
    ]


def scale_fit(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Fit:
    """The factor of least squares; one where x is zero everywhere."""
    x, y = _pooled(xs, ys)
    squares = float(x.square().sum())
    return Fit(float((x * y).sum()) / squares if squares else 1.0, 0.0)


def affine_fit(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Fit:
    """Factor and offset of least squares."""
    x, y = _pooled(xs, ys)
    if not x.numel():
        return Fit(1.0, 0.0)
    centred = x - x.mean()
    squares = float(centred.square().sum())
    scale = float((centred * y).sum()) / squares if squares else 0.0
    return Fit(scale, float(y.mean() - scale * x.mean()))


def channel_fit(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Fit:
    """Factor and offset of least squares for every index of dimension 1."""
    x, y = torch.stack(list(xs)).double(), torch.stack(list(ys)).double().nan_to_num(0.0, 0.0, 0.0)
    reduced = [d for d in range(x.dim()) if d != 2]  # stacked: the channels are dimension 2
    x_mean, y_mean = x.mean(reduced, keepdim=True), y.mean(reduced, keepdim=True)
    centred = x - x_mean
    squares = centred.square().sum(reduced, keepdim=True)
    scale = (centred * y).sum(reduced, keepdim=True) / squares.clamp_min(torch.finfo(torch.float64).tiny)
    return Fit(scale[0], (y_mean - scale * x_mean)[0])


def residual(fit: Fit, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> float:
    """Mean squared error of a fit, over finite values."""
    errors = torch.stack(
        [(fit.apply(x) - y.double()).square().reshape(-1) for x, y in zip(xs, ys, strict=True)]
    )
    finite = errors[torch.isfinite(errors)]
    return float(finite.mean()) if finite.numel() else 0.0


def _thinned(values: Tensor) -> Tensor:
    """At most about a million values, evenly spread: fits need no more."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.numel() // MOST_FITTED)].double()


def _pooled(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    x = torch.cat([_thinned(v) for v in xs])
    y = torch.cat([_thinned(v) for v in ys])
    finite = torch.isfinite(x) & torch.isfinite(y)
    return x[finite], y[finite]
