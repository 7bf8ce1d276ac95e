"""Linear layer, division by a constant, exact GELU."""

import torch
from torch import nn

TITLE = "Linear, divide, GELU"
FAMILY = "gemm_tail"

batch_size = 1024
input_size = 8192
output_size = 8192
divisor = 10.0

SIZES = {"small": {"batch_size": 256, "input_size": 512, "output_size": 512}}


class Model(nn.Module):
    """gelu(linear(x) / divisor)."""

    def __init__(self, input_size, output_size, divisor):
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        self.divisor = divisor

    def forward(self, x):
        return nn.functional.gelu(self.linear(x) / self.divisor)


def get_inputs():
    return [torch.rand(batch_size, input_size)]


def get_init_inputs():
    return [input_size, output_size, divisor]
