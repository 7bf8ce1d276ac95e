"""Softmax through logsumexp, under no_grad."""

import torch
from torch import nn


class ModelNew(nn.Module):
    @torch.no_grad()
    def forward(self, x):
        return (x - torch.logsumexp(x, 1, True)).exp()
