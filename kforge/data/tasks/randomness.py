"""Where a task file's code draws its values: generators of its own, on the device that is asked for."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

Device = torch.device | str


@contextlib.contextmanager
def own_randomness(device: Device) -> Iterator[None]:
    """Leave the caller's generators and default dtype as they were.

    Args:
        device: where the values are drawn; a CUDA device's generator is kept too. Nothing wakes a GPU
            that is not named.
    """
    target = torch.device(device)
    cuda = [_index(target)] if target.type == "cuda" else []
    python_state, numpy_state, dtype = random.getstate(), np.random.get_state(), torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def place(device: Device) -> Iterator[None]:
    """Let torch's factories make their tensors on the device, as ``with torch.device(device)`` does.

    For the CPU nothing is done, so that a caller's own ``with torch.device("meta")`` stays in force.
    """
    target = torch.device(device)
    if target.type == "cpu":
        yield
        return
    with target:
        yield


def seed_all(seed: int) -> None:
    """Seed every generator a task file may draw from, so that each process sees the same values."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def generators_state(device: Device) -> tuple[object, ...]:
    """Where the generators stand that a task file may draw from: another after any draw."""
    target = torch.device(device)
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(target)] if target.type == "cuda" else [])
    return (*(s.numpy().tobytes() for s in states), random.getstate(), pickle.dumps(np.random.get_state()))


_CUT = 64
_SIZED = {torch.rand, torch.randn, torch.zeros, torch.ones, torch.empty}
_SIZE_AT = {torch.full: 0, torch.normal: 2}


class CutFactories(TorchFunctionMode):
    """Within it no dimension that a factory makes exceeds 64; equal dimensions stay equal.

    For values whose nature matters and whose number does not. Code that relies on the sizes it asked for
    fails inside, and is then to be run outside.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        """Call ``func`` with its size arguments cut."""
        named = dict(kwargs or {})
        if func in _SIZED:
            args = tuple(_cut(argument) for argument in args)
        elif func is torch.randint:  # (high, size) or (low, high, size); only sizes are sequences
            args = tuple(_cut(a) if isinstance(a, tuple | list) else a for a in args)
        elif func in _SIZE_AT:
            at = _SIZE_AT[func]
            args = tuple(_cut(a) if position == at else a for position, a in enumerate(args))
        if "size" in named:
            named["size"] = _cut(named["size"])
        return func(*args, **named)


def _cut(size: object) -> object:
    if isinstance(size, tuple | list):
        return [_cut(length) for length in size]
    return min(size, _CUT) if isinstance(size, int) and not isinstance(size, bool) else size


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
