"""A stand-in, so that the files around it can be checked: an export puts the task's own source here."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """Half of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """One operation."""
        return x * 0.5


def get_inputs() -> list[Tensor]:
    """Arguments of ``forward``."""
    return [torch.rand(4)]


def get_init_inputs() -> list[object]:
    """Arguments of ``Model``."""
    return []
