"""Reverse cumulative sum by flipping twice, through an index."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        back = torch.arange(x.shape[self.dim] - 1, -1, -1, device=x.device)
        return x.index_select(self.dim, back).cumsum(self.dim).index_select(self.dim, back)
