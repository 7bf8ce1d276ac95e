"""Sum over one dimension, which is kept with length 1."""

import torch
from torch import nn

TITLE = "Sum reduction over a dimension"
FAMILY = "reduction"

batch_size = 128
dim1 = 4096
dim2 = 4095
reduce_dim = 1

SIZES = {"small": {"batch_size": 16, "dim1": 512, "dim2": 1023}}


class Model(nn.Module):
    """y = sum of x along ``dim``."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return x.sum(dim=self.dim, keepdim=True)


def get_inputs():
    return [torch.rand(batch_size, dim1, dim2)]


def get_init_inputs():
    return [reduce_dim]
