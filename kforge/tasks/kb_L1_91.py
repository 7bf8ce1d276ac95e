"""Running sum from the end of each row to its beginning."""

import torch
from torch import nn

TITLE = "Reverse cumulative sum"
FAMILY = "scan"

batch_size = 32768
input_shape = (32768,)
dim = 1

SIZES = {"small": {"batch_size": 512, "input_shape": (2048,)}}


class Model(nn.Module):
    """y[i] = x[i] + x[i + 1] + ... + x[n - 1] along ``dim``."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return x.flip(self.dim).cumsum(dim=self.dim).flip(self.dim)


def get_inputs():
    return [torch.rand(batch_size, *input_shape)]


def get_init_inputs():
    return [dim]
