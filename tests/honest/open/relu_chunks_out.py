"""ReLU in chunks written into a preallocated output."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        for source, target in zip(x.chunk(7), out.chunk(7)):
            torch.maximum(source, torch.zeros_like(source), out=target)
        return out
