"""Slow honest fp32 algorithms: every sum in order, nothing cleverer than a first kernel would be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def total(x: Tensor) -> Tensor:
    """Sum over the last dimension, one value after the other."""
    return torch.from_numpy(
        np.add.accumulate(x.contiguous().numpy(), axis=-1, dtype=np.float32)[..., -1].copy()
    )


def matmul(a: Tensor, b: Tensor) -> Tensor:
    out = torch.zeros(a.shape[0], b.shape[1])
    for k in range(a.shape[1]):
        out = out + a[:, k : k + 1] * b[k : k + 1]
    return out


def softmax(x: Tensor) -> Tensor:
    powers = torch.exp(x - x.max(1, keepdim=True).values)
    return powers / total(powers)[:, None]


def online_softmax(x: Tensor) -> Tensor:
    """One pass over the row; the running sum is rescaled whenever the maximum moves."""
    top, running = torch.full((x.shape[0],), -torch.inf), torch.zeros(x.shape[0])
    for k in range(x.shape[1]):
        higher = torch.maximum(top, x[:, k])
        running = running * torch.exp(top - higher) + torch.exp(x[:, k] - higher)
        top = higher
    return torch.exp(x - top[:, None]) / running[:, None]


def normalise(rows: Tensor, eps: float = 1e-5) -> Tensor:
    n = rows.shape[1]
    rest = rows - total(rows)[:, None] / n
    return rest * torch.rsqrt(total(rest * rest)[:, None] / n + eps)


def instance_norm(x: Tensor) -> Tensor:
    return normalise(x.reshape(x.shape[0] * x.shape[1], -1)).reshape(x.shape)


def layer_norm(x: Tensor) -> Tensor:
    return normalise(x.reshape(x.shape[0], -1)).reshape(x.shape)


def convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    columns = functional.unfold(x, weight.shape[-1])
    flat = weight.reshape(weight.shape[0], -1)
    out = torch.zeros(x.shape[0], weight.shape[0], columns.shape[2])
    for k in range(columns.shape[1]):
        out = out + flat[None, :, k, None] * columns[:, k : k + 1]
    size = x.shape[-1] - weight.shape[-1] + 1
    return (out + bias[None, :, None]).reshape(x.shape[0], weight.shape[0], size, size)
