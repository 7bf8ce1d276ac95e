"""Cross entropy of class scores against class numbers."""

import torch
from torch import nn

TITLE = "Cross-entropy loss"
FAMILY = "loss"

batch_size = 32768
num_classes = 4096
input_shape = (num_classes,)

SIZES = {"small": {"batch_size": 1024, "num_classes": 1024, "input_shape": (1024,)}}
INPUT_KINDS = {"targets": "index"}


class Model(nn.Module):
    """Mean over rows of log(sum(exp(predictions))) - predictions[target]."""

    def forward(self, predictions, targets):
        return nn.functional.cross_entropy(predictions, targets)


def get_inputs():
    return [torch.rand(batch_size, *input_shape), torch.randint(0, num_classes, (batch_size,))]


def get_init_inputs():
    return []
