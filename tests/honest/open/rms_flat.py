"""RMS normalisation on a permuted view."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.eps = eps

    def forward(self, x):
        last = x.movedim(1, -1)
        scale = torch.rsqrt(last.square().mean(-1) + self.eps)
        return x * scale.unsqueeze(1)
