"""Layer normalisation over whole (channel, height, width) samples."""

import torch
from torch import nn

TITLE = "Layer normalisation"
FAMILY = "norm"

batch_size = 16
features = 64
dim1 = 256
dim2 = 256

SIZES = {"small": {"batch_size": 16, "features": 32, "dim1": 64, "dim2": 64}}


class Model(nn.Module):
    """Layer norm with learned scale and shift of the sample's shape."""

    def __init__(self, normalized_shape):
        super().__init__()
        self.ln = nn.LayerNorm(normalized_shape)

    def forward(self, x):
        return self.ln(x)


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [(features, dim1, dim2)]
