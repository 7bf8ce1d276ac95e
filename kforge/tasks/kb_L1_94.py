"""Mean squared error between two matrices."""

import torch
from torch import nn

TITLE = "Mean squared error loss"
FAMILY = "loss"

batch_size = 32768
input_shape = (32768,)

SIZES = {"small": {"batch_size": 2048, "input_shape": (1024,)}}


class Model(nn.Module):
    """Mean of (predictions - targets)^2, one scalar."""

    def forward(self, predictions, targets):
        return torch.mean((predictions - targets) ** 2)


def get_inputs():
    scale = torch.rand(())
    predictions = torch.rand(batch_size, *input_shape) * scale
    targets = torch.rand(batch_size, *input_shape)
    return [predictions, targets]


def get_init_inputs():
    return []
