"""Positions of a largest or smallest value: where values are equal, any of their positions is right.

PyTorch leaves open which one ``argmax`` takes. So an output that holds positions is compared by the values
that they point at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_DIRECT = (_aten.argmax.default, _aten.argmin.default)
_PAIRED = (_aten.max.dim, _aten.min.dim)


@dataclass(frozen=True, slots=True)
class Pointed:
    """What positions point into.

    Attributes:
        source: the searched values, the searched dimension last.
    """

    source: Tensor

    def wrong(self, found: Tensor, expected: Tensor) -> int:
        """How many positions point at another value than the expected ones do."""
        rows = self.source.reshape(-1, self.source.shape[-1])
        at = found.reshape(-1, 1).long()
        inside = (at >= 0) & (at < rows.shape[1])
        value = rows.gather(1, at.clamp(0, rows.shape[1] - 1))
        return int((~inside | (value != rows.gather(1, expected.reshape(-1, 1)))).sum())


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers what every position tensor points into, by its storage."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[int, tuple[Tensor, Pointed]] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operator as it is."""
        out = func(*args, **(kwargs or {}))
        if func in _DIRECT or func in _PAIRED:
            positions = out if func in _DIRECT else out[1]
            dim = args[1] if len(args) > 1 else None
            source = args[0].reshape(-1) if dim is None else args[0].movedim(dim, -1)
            # The tensor is kept, so that its memory is given to nobody else meanwhile.
            self.seen[positions.data_ptr()] = (positions, Pointed(source.detach().clone()))
        return out


def watched(
    run: Callable[[], Sequence[Tensor]],
) -> tuple[Sequence[Tensor], tuple[Pointed | None, ...]]:
    """Outputs of a reference, and for each what it points into if it holds positions."""
    with _Watch() as watch:
        outputs = run()
    pointed: list[Pointed | None] = []
    for output in outputs:
        _, found = watch.seen.get(output.data_ptr(), (None, None))
        whole = found is not None and found.source.numel() // found.source.shape[-1] == output.numel()
        pointed.append(found if whole and output.dtype == torch.int64 else None)
    return outputs, tuple(pointed)
