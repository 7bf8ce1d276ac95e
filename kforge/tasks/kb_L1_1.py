"""Product of two square matrices."""

import torch
from torch import nn

TITLE = "Square matrix multiplication"
FAMILY = "matmul"

N = 4096

SIZES = {"small": {"N": 512}}


class Model(nn.Module):
    """C = A B for square fp32 matrices."""

    def forward(self, A, B):
        return A @ B


def get_inputs():
    return [torch.rand(N, N), torch.rand(N, N)]


def get_init_inputs():
    return []
