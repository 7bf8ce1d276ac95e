"""2-d convolution, ReLU, then a bias per channel."""

import torch
from torch import nn

TITLE = "Convolution, ReLU, bias"
FAMILY = "conv_tail"

batch_size = 128
in_channels = 64
out_channels = 128
height = width = 128
kernel_size = 3
bias_shape = (out_channels, 1, 1)

SIZES = {"small": {"batch_size": 32, "in_channels": 16, "out_channels": 32, "height": 32, "width": 32}}


class Model(nn.Module):
    """relu(conv(x)) + bias; the bias comes after the ReLU."""

    def __init__(self, in_channels, out_channels, kernel_size, bias_shape):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bias = nn.Parameter(torch.randn(bias_shape))

    def forward(self, x):
        return torch.relu(self.conv(x)) + self.bias


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size, bias_shape]
