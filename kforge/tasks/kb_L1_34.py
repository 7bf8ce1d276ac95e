"""Instance normalisation of images, without learned scale."""

import torch
from torch import nn

TITLE = "Instance normalisation"
FAMILY = "norm"

batch_size = 112
features = 64
dim1 = 512
dim2 = 512

SIZES = {"small": {"batch_size": 8, "features": 64, "dim1": 64, "dim2": 64}}


class Model(nn.Module):
    """Normalises every (sample, channel) plane to mean 0 and variance 1."""

    def __init__(self, num_features):
        super().__init__()
        self.inorm = nn.InstanceNorm2d(num_features)

    def forward(self, x):
        return self.inorm(x)


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [features]
