"""Library operators of a plan, as torch functions on the current stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .memory import Memory

OPERATORS: Mapping[str, Callable[..., Any]] = {
    "conv1d": F.conv1d,
    "conv2d": F.conv2d,
    "conv3d": F.conv3d,
    "conv_transpose1d": F.conv_transpose1d,
    "conv_transpose2d": F.conv_transpose2d,
    "conv_transpose3d": F.conv_transpose3d,
    "linear": F.linear,
    "matmul": torch.matmul,
    "mm": torch.mm,
    "bmm": torch.bmm,
    "addmm": torch.addmm,
    "baddbmm": torch.baddbmm,
    "mv": torch.mv,
    "scaled_dot_product_attention": F.scaled_dot_product_attention,
}


def run_operator(step: Mapping[str, Any], memory: Memory, tensors: list[Mapping[str, Any]]) -> None:
    """Run one operator step and put its result behind its storage."""

    def value(argument: Any) -> Any:  # noqa: ANN401 - plain JSON data
        return memory.tensor(argument["id"]) if isinstance(argument, dict) else argument

    args = [value(argument) for argument in step["args"]]
    kwargs = {name: value(argument) for name, argument in step["kwargs"].items()}
    result: Tensor = OPERATORS[step["name"]](*args, **kwargs).contiguous()
    made = tensors[step["out"]]
    if list(result.shape) != list(made["shape"]):
        raise RuntimeError(f"{step['name']} gave shape {tuple(result.shape)}, the plan says {made['shape']}")
    memory.hold(made["storage"], result)
