"""Multilayer perceptron: linear layers with ReLU between them."""

import torch
from torch import nn

TITLE = "Multilayer perceptron"
FAMILY = "network"

batch_size = 128
input_size = 16384
layer_sizes = [16384, 16384]
output_size = 8192

SIZES = {"small": {"input_size": 512, "layer_sizes": [512, 512], "output_size": 256}}


class Model(nn.Module):
    """Three linear layers; a ReLU follows each but the last."""

    def __init__(self, input_size, layer_sizes, output_size):
        super().__init__()
        widths = [input_size, *layer_sizes]
        layers = []
        for before, after in zip(widths, widths[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], output_size))

    def forward(self, x):
        return self.network(x)


def get_inputs():
    return [torch.rand(batch_size, input_size)]


def get_init_inputs():
    return [input_size, layer_sizes, output_size]
