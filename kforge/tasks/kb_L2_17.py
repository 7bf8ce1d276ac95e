"""2-d convolution, instance normalisation, division by a constant."""

import torch
from torch import nn

TITLE = "Convolution, instance norm, division"
FAMILY = "conv_tail"

batch_size = 128
in_channels = 64
out_channels = 128
height = width = 128
kernel_size = 3
divide_by = 2.0

SIZES = {"small": {"batch_size": 64, "in_channels": 16, "out_channels": 32, "height": 32, "width": 32}}


class Model(nn.Module):
    """instance_norm(conv(x)) / divide_by."""

    def __init__(self, in_channels, out_channels, kernel_size, divide_by):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.instance_norm = nn.InstanceNorm2d(out_channels)
        self.divide_by = divide_by

    def forward(self, x):
        return self.instance_norm(self.conv(x)) / self.divide_by


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size, divide_by]
