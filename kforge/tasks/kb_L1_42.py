"""Largest value in sliding windows of images."""

import torch
from torch import nn

TITLE = "2-d max pooling"
FAMILY = "pooling"

batch_size = 32
channels = 64
height = width = 512
kernel_size = 4
stride = padding = dilation = 1

SIZES = {"small": {"batch_size": 4, "channels": 16, "height": 64, "width": 64}}


class Model(nn.Module):
    """Maximum over every window; the border is padded with minus infinity."""

    def __init__(self, kernel_size, stride, padding, dilation):
        super().__init__()
        self.maxpool = nn.MaxPool2d(kernel_size, stride, padding, dilation)

    def forward(self, x):
        return self.maxpool(x)


def get_inputs():
    return [torch.rand(batch_size, channels, height, width)]


def get_init_inputs():
    return [kernel_size, stride, padding, dilation]
