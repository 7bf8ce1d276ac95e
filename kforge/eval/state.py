"""Parameters and buffers of a reference by name: read, perturbed, assigned. The names are those of a plan."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, tied ones under each of their names, non-persistent buffers too."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )


def assign(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy values into a model; its tensors keep their type, so fp32 values may go into an fp64 model."""
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            tensor.copy_(state[name])


def perturb_constants(model: nn.Module, rng: torch.Generator) -> dict[str, Tensor]:
    """A freshly initialised model's values, constant-initialised parameters (gamma, beta) perturbed.

    Dropping a gamma of ones or a beta of zeros would show nowhere else. Tied tensors stay tied; buffers and
    single values stay as they are.

    Args:
        model: just constructed.
        rng: of this draw alone.
    """
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    drawn: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in tensors_of(model).items():
        place = tensor.data_ptr()
        if place not in drawn or drawn[place].shape != tensor.shape:
            value = tensor.detach().clone()
            if name in parameters and value.is_floating_point() and value.numel() > 1:
                first = value.reshape(-1)[0]
                if bool((value == first).all()):
                    noise = torch.randn(value.shape, generator=rng, device=rng.device)
                    value += 0.2 * noise.to(value.dtype)
            drawn[place] = value
        state[name] = drawn[place]
    return state
