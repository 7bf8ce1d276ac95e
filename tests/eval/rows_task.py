"""The small task that the hand-written candidates solve, rightly or wrongly: row norm of relu(x)."""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """layer_norm(relu(x)) over rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(torch.relu(x))
        return out


def get_inputs() -> list[Tensor]:
    return [torch.rand(64, 256)]


def get_init_inputs() -> list[int]:
    return [256]
