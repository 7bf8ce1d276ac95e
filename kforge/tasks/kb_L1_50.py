"""The first convolution of AlexNet: few input channels, a large kernel, stride 4."""

import torch
from torch import nn

TITLE = "2-d convolution, 11 x 11, stride 4"
FAMILY = "conv"

batch_size = 256
num_classes = 1000

SIZES = {"small": {"batch_size": 4}}


class Model(nn.Module):
    """conv1(x) from 3 to 96 channels; ``num_classes`` has no use."""

    def __init__(self, num_classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4, padding=2)

    def forward(self, x):
        return self.conv1(x)


def get_inputs():
    return [torch.rand(batch_size, 3, 224, 224)]


def get_init_inputs():
    return [num_classes]
