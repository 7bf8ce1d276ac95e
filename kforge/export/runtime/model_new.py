"""``ModelNew``: the task's ``Model`` with kernels behind its ``forward``."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch

from .fast_path import FastPath, constructor_arguments, forward_names
from .reference import Model


class ModelNew(Model):
    """Drop-in for ``Model``: the same constructor, ``forward`` and ``state_dict``.

    Attributes:
        fast_path: which way calls went, and the switches ``strict`` and ``enabled``.
    """

    @wraps(Model.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        if hasattr(self, "fast_path"):
            raise RuntimeError("Model has an attribute fast_path of its own: rename it in reference.py")
        given = constructor_arguments(Model, args, kwargs)
        self.fast_path = FastPath(self, given, forward_names(Model))

    @wraps(Model.forward)
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """As ``Model.forward``; under ``torch.compile`` it is ``Model.forward``."""
        if torch.compiler.is_compiling():
            return super().forward(*args, **kwargs)
        return self.fast_path.run(self, super().forward, args, kwargs)
