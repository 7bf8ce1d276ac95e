"""Compound operators taken apart into the steps that a kernel takes: means, sums, functions, arithmetic.

The precision model runs these in place of PyTorch's own, so that every step gets its rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Dims = int | Sequence[int] | bool | None


def _dims(x: Tensor, dim: Dims) -> list[int]:
    if dim is None or isinstance(dim, bool):
        return list(range(x.dim()))
    return [dim] if isinstance(dim, int) else list(dim) or list(range(x.dim()))


def var_mean(
    x: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False,
    *, correction: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Variance and mean: the mean first, then the squares of what is left."""
    if isinstance(dim, bool):  # var_mean(x, unbiased): every dimension
        unbiased = dim
    dims = _dims(x, dim)
    mean = x.mean(dims, keepdim=True)
    rest = x - mean
    total = (rest * rest).sum(dims, keepdim=keepdim)
    freedom = float(unbiased) if correction is None else float(correction)
    variance = total / max(0.0, x.numel() // max(1, mean.numel()) - freedom)
    return variance, mean if keepdim else mean.reshape(total.shape)


def _var(*args: Any, **options: Any) -> Tensor:  # noqa: ANN401
    return var_mean(*args, **options)[0]


def _std(*args: Any, **options: Any) -> Tensor:  # noqa: ANN401
    return var_mean(*args, **options)[0].sqrt()


def _vector_norm(x: Tensor, order: float = 2, dim: Dims = None, keepdim: bool = False, **_: object) -> Tensor:
    dims = _dims(x, dim)
    if order == 2:
        return (x * x).sum(dims, keepdim=keepdim).sqrt()
    if math.isinf(order):
        return x.abs().amax(dims, keepdim=keepdim) if order > 0 else x.abs().amin(dims, keepdim=keepdim)
    if order == 1:
        return x.abs().sum(dims, keepdim=keepdim)
    return torch.pow(torch.pow(x.abs(), order).sum(dims, keepdim=keepdim), 1.0 / order)


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    powers = (x - x.amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    dims = _dims(x, dim)
    top = x.amax(dims, keepdim=True)
    total = (x - top).exp().sum(dims, keepdim=True).log() + top
    return total if keepdim else total.reshape(x.sum(dims).shape)


def _normalise(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    variance, mean = var_mean(x, dims, correction=0, keepdim=True)
    scale = (variance + eps).rsqrt()
    return (x - mean) * scale, mean, scale


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    out, mean, scale = _normalise(x, list(range(x.dim() - len(shape), x.dim())), eps)
    return _affine(out, weight, bias), mean, scale


def _per_channel(values: Tensor | None, x: Tensor) -> Tensor | None:
    return None if values is None else values.reshape(1, -1, *[1] * (x.dim() - 2))


def _group_norm(  # noqa: PLR0917 - the order of ATen
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, channels: int, size: int, groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    out, mean, scale = _normalise(x.reshape(n, groups, -1), [2], eps)
    out = _affine(out.reshape(x.shape), _per_channel(weight, x), _per_channel(bias, x))
    return out, mean.reshape(n, groups), scale.reshape(n, groups)


def _batch_norm(  # noqa: PLR0917 - the order of ATen
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, variance: Tensor | None,
    training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Leaves running statistics alone: their own rounding is below everything else here."""
    if training or mean is None or variance is None:
        out, mean, scale = _normalise(x, [0, *range(2, x.dim())], eps)
    else:
        scale = (variance + eps).rsqrt()
        centre, factor = _per_channel(mean, x), _per_channel(scale, x)
        assert centre is not None
        assert factor is not None
        out = (x - centre) * factor
    out = _affine(out, _per_channel(weight, x), _per_channel(bias, x))
    return out, mean.reshape(-1), scale.reshape(-1)


def _batch_norm_without_statistics(  # noqa: PLR0917 - the order of ATen
    x: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _batch_norm(x, weight, bias, None, None, training, momentum, eps)


def _batch_norm_inference(  # noqa: PLR0917 - the order of ATen
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
    momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _batch_norm(x, weight, bias, mean, variance, False, momentum, eps)


def _mse_loss(x: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    rest = x - target
    squares = rest * rest
    return squares if reduction == 0 else squares.mean() if reduction == 1 else squares.sum()


_aten = torch.ops.aten
COMPOUND: Mapping[Any, Callable[..., Any]] = {
    _aten.var.correction: _var,
    _aten.var.dim: _var,
    _aten.var.default: _var,
    _aten.std.correction: _std,
    _aten.std.dim: _std,
    _aten.std.default: _std,
    _aten.var_mean.correction: var_mean,
    _aten.linalg_vector_norm.default: _vector_norm,
    _aten._softmax.default: _softmax,
    _aten._log_softmax.default: _log_softmax,
    _aten.logsumexp.default: _logsumexp,
    _aten.native_layer_norm.default: _layer_norm,
    _aten.native_group_norm.default: _group_norm,
    _aten._native_batch_norm_legit.no_stats: _batch_norm_without_statistics,
    _aten._native_batch_norm_legit_no_training.default: _batch_norm_inference,
    _aten._native_batch_norm_legit.default: _batch_norm,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.mse_loss.default: _mse_loss,
}
