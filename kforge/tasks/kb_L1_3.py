"""Batched product of matrices."""

import torch
from torch import nn

TITLE = "Batched matrix multiplication"
FAMILY = "matmul"

batch_size = 128
m = 512
k = 1024
n = 2048

SIZES = {"small": {"batch_size": 8, "m": 128, "k": 128, "n": 256}}


class Model(nn.Module):
    """C[b] = A[b] B[b] for every b."""

    def forward(self, A, B):
        return torch.bmm(A, B)


def get_inputs():
    return [torch.rand(batch_size, m, k), torch.rand(batch_size, k, n)]


def get_init_inputs():
    return []
