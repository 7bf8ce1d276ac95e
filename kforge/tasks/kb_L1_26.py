"""GELU in its exact form, by the error function."""

import torch
from torch import nn

TITLE = "GELU (exact)"
FAMILY = "elementwise"

batch_size = 4096
dim = 393216

SIZES = {"small": {"batch_size": 1024, "dim": 4096}}


class Model(nn.Module):
    """y = gelu(x), x of shape (batch_size, dim)."""

    def forward(self, x):
        return nn.functional.gelu(x)


def get_inputs():
    return [torch.rand(batch_size, dim)]


def get_init_inputs():
    return []
