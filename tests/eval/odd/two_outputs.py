"""Two outputs of two types over a transposed input, with a constant argument and two workloads."""

import torch
from torch import Tensor, nn

WORKLOADS = {"short": {"n": 300}, "long": {"n": 5000}}
n = 300


class Model(nn.Module):
    def forward(self, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        return torch.argmax(x * scale, dim=1), (x * scale).amax(dim=1)


def get_inputs() -> list[object]:
    return [torch.rand(64, n).t().contiguous().t(), 2.0]


def get_init_inputs() -> list[object]:
    return []
