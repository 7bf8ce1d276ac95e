"""Linear layer, Swish, bias, group normalisation."""

import torch
from torch import nn

TITLE = "Linear, Swish, bias, group norm"
FAMILY = "gemm_tail"

batch_size = 32768
in_features = 1024
out_features = 4096
num_groups = 64
bias_shape = (out_features,)

SIZES = {"small": {"batch_size": 512, "in_features": 256, "out_features": 512, "num_groups": 8}}


class Model(nn.Module):
    """group_norm(h * sigmoid(h) + bias) with h = matmul(x)."""

    def __init__(self, in_features, out_features, num_groups, bias_shape):
        super().__init__()
        self.matmul = nn.Linear(in_features, out_features)
        self.bias = nn.Parameter(torch.randn(bias_shape))
        self.group_norm = nn.GroupNorm(num_groups, out_features)

    def forward(self, x):
        hidden = self.matmul(x)
        return self.group_norm(torch.sigmoid(hidden) * hidden + self.bias)


def get_inputs():
    return [torch.rand(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, num_groups, bias_shape]
