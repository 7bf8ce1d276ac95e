"""Kullback-Leibler divergence between rows of two matrices of probabilities."""

import torch
from torch import nn

TITLE = "Kullback-Leibler divergence loss"
FAMILY = "loss"

batch_size = 16384
input_shape = (16384,)

SIZES = {"small": {"batch_size": 256, "input_shape": (2048,)}}
INPUT_KINDS = {"predictions": "probability", "targets": "probability"}


class Model(nn.Module):
    """Sum of targets (log targets - log predictions), divided by the batch size."""

    def forward(self, predictions, targets):
        return nn.functional.kl_div(predictions.log(), targets, reduction="batchmean")


def get_inputs():
    scale = torch.rand(())
    predictions = (torch.rand(batch_size, *input_shape) * scale).softmax(dim=-1)
    targets = torch.rand(batch_size, *input_shape).softmax(dim=-1)
    return [predictions, targets]


def get_init_inputs():
    return []
