"""Linear layer with a separate bias parameter, then ReLU."""

import torch
from torch import nn

TITLE = "Linear, bias, ReLU"
FAMILY = "gemm_tail"

batch_size = 1024
in_features = 8192
out_features = 8192
bias_shape = (out_features,)

SIZES = {"small": {"batch_size": 256, "in_features": 512, "out_features": 512}}


class Model(nn.Module):
    """relu(gemm(x) + bias); gemm itself has no bias."""

    def __init__(self, in_features, out_features, bias_shape):
        super().__init__()
        self.gemm = nn.Linear(in_features, out_features, bias=False)
        self.bias = nn.Parameter(torch.randn(bias_shape))

    def forward(self, x):
        return torch.relu(self.gemm(x) + self.bias)


def get_inputs():
    return [torch.rand(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, bias_shape]
