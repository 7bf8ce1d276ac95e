"""A weight of two layers, a parameter of two names, and a buffer outside the state_dict."""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    freq: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Linear(width, width)
        self.b = nn.Linear(width, width)
        self.b.weight = self.a.weight
        self.register_buffer("freq", torch.rand(width), persistent=False)
        self.g = nn.Parameter(torch.ones(width))
        self.h = self.g

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x))) * self.freq * self.g + self.h
        return out


def get_inputs() -> list[Tensor]:
    return [torch.rand(256, 128)]


def get_init_inputs() -> list[int]:
    return [128]
