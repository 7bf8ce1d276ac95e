"""A matrix product in half precision."""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """Product of two half matrices."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


def get_inputs() -> list[Tensor]:
    return [torch.rand(64, 128).half(), torch.rand(128, 64).half()]


def get_init_inputs() -> list[int]:
    return []
