"""Linear layer, scaled, plus the unscaled result."""

import torch
from torch import nn

TITLE = "Linear, scale, residual add"
FAMILY = "gemm_tail"

batch_size = 16384
in_features = 4096
out_features = 4096
scaling_factor = 0.5

SIZES = {"small": {"batch_size": 256, "in_features": 512, "out_features": 512}}


class Model(nn.Module):
    """y = scaling_factor * h + h with h = matmul(x); the second h is a detached copy."""

    def __init__(self, in_features, out_features, scaling_factor):
        super().__init__()
        self.matmul = nn.Linear(in_features, out_features)
        self.scaling_factor = scaling_factor

    def forward(self, x):
        hidden = self.matmul(x)
        residual = hidden.clone().detach()
        return hidden * self.scaling_factor + residual


def get_inputs():
    return [torch.rand(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, scaling_factor]
