"""Softmax compiled by torch.jit when the module is made."""

import torch
from torch import nn


def rows(x: torch.Tensor) -> torch.Tensor:
    powers = torch.exp(x - torch.max(x, dim=1, keepdim=True)[0])
    return powers / powers.sum(dim=1, keepdim=True)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        x = torch.rand(2, 3)
        self.rows = torch.jit.trace(rows, (x,))

    def forward(self, x):
        return self.rows(x)
