"""Rectified linear unit over a large matrix."""

import torch
from torch import nn

TITLE = "ReLU"
FAMILY = "elementwise"

batch_size = 4096
dim = 393216

SIZES = {"small": {"batch_size": 1024, "dim": 4096}}


class Model(nn.Module):
    """y = relu(x), x of shape (batch_size, dim)."""

    def forward(self, x):
        return torch.relu(x)


def get_inputs():
    return [torch.rand(batch_size, dim)]


def get_init_inputs():
    return []
