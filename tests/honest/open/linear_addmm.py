"""Linear, bias and ReLU by addmm with a stream of its own on a GPU."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features, bias_shape):
        super().__init__()
        self.gemm = nn.Linear(in_features, out_features, bias=False)
        self.bias = nn.Parameter(torch.randn(bias_shape))
        self.side = torch.cuda.Stream() if torch.cuda.is_available() else None

    def forward(self, x):
        if self.side is None or not x.is_cuda:
            return torch.addmm(self.bias, x, self.gemm.weight.t()).relu()
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            y = torch.addmm(self.bias, x, self.gemm.weight.t()).relu()
        torch.cuda.current_stream().wait_stream(self.side)
        return y
