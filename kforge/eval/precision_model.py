"""M_p: the reference with the rounding an honest kernel of precision p would have.

The fp64 reference runs under a dispatch mode that rounds contraction operands to p, adds random-walk
accumulation noise to every contraction and reduction of length L (proportional to u * sqrt(L) * operand
magnitude), and rounds each operator's output to its storage type. The spread of M_p around the truth is
what a correct kernel may be off by. Source: design section 6; first version, see docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kforge.types import Precision

# Unit roundoff of the arithmetic that contraction operands may be rounded to.
UNIT_ROUNDOFF: dict[Precision, float] = {
    "ieee": 2.0**-24,
    "tf32": 2.0**-11,
    "bf16": 2.0**-8,
    "fp16": 2.0**-11,
}
ACCUMULATE_ROUNDOFF = 2.0**-24
STORAGE_DTYPE: dict[Precision, torch.dtype] = {
    "ieee": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
}  # fmt: skip

_aten = torch.ops.aten
_CONTRACTIONS = {
    _aten.convolution.default: (0, 1),
    _aten.mm.default: (0, 1),
    _aten.bmm.default: (0, 1),
    _aten.addmm.default: (1, 2),
    _aten.baddbmm.default: (1, 2),
    _aten.mv.default: (0, 1),
    _aten.dot.default: (0, 1),
}
_REDUCTIONS = {
    "sum",
    "mean",
    "cumsum",
    "var",
    "std",
    "var_mean",
    "linalg_vector_norm",
    "norm",
    "logsumexp",
    "prod",
}
_NORMALISATIONS = {
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update", "cudnn_batch_norm", "native_layer_norm", "native_group_norm", "_softmax",
    "_log_softmax",
}  # fmt: skip


def round_to(values: Tensor, roundoff: float) -> Tensor:
    """Round to a significand of ``-log2(roundoff)`` bits, exponent range unlimited.

    Args:
        values: float64.
        roundoff: unit roundoff to round to.
    """
    if roundoff <= 2.0**-50:
        return values
    mantissa, exponent = torch.frexp(values)
    scale = 0.5 / roundoff
    return torch.ldexp(torch.round(mantissa * (2 * scale)) / (2 * scale), exponent)


class NoiseMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators in fp64 with the noise of precision p. One instance per run."""

    def __init__(self, precision: Precision, rng: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._roundoff = UNIT_ROUNDOFF[precision]
        self._storage = STORAGE_DTYPE[precision]
        self._rng = rng

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operator: operands rounded, noise added, output rounded to storage."""
        kwargs = kwargs or {}
        if func in _CONTRACTIONS:
            return self._store(self._contraction(func, args, kwargs))
        out = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        first = next((a for a in args if isinstance(a, Tensor)), None)
        if func.is_view or first is None or not _is_fp64(first):
            return out
        if name in _NORMALISATIONS:
            length = _row_length(out, first, args)
            return self._map(out, lambda o: self._store(self._normalised(o, length)))
        if name in _REDUCTIONS:
            return self._map(out, lambda o: self._store(self._reduced(o, first, name)))
        return self._map(out, self._store) if not func._schema.is_mutable else out

    def _map(self, out: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
        if isinstance(out, Tensor):
            return change(out) if _is_fp64(out) else out
        if isinstance(out, (tuple, list)):
            return type(out)(self._map(o, change) if i == 0 else o for i, o in enumerate(out))
        return out

    def _store(self, values: Tensor) -> Tensor:
        return values.to(self._storage).to(torch.float64) if _is_fp64(values) else values

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self._rng, dtype=torch.float64)

    def _contraction(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:  # noqa: ANN401
        left, right = _CONTRACTIONS[func]
        rounded = list(args)
        for position in (left, right):
            rounded[position] = round_to(args[position], self._roundoff)
        out: Tensor = func(*rounded, **kwargs)
        squares = list(args)
        squares[left], squares[right] = args[left] ** 2, args[right] ** 2
        for position, value in enumerate(args):  # the added bias has no part in the accumulation
            if isinstance(value, Tensor) and position not in (left, right):
                squares[position] = None if func is _aten.convolution.default else torch.zeros_like(value)
        magnitude = func(*squares, **kwargs).clamp_min(0).sqrt()
        length = _contraction_length(func, args)
        spread = ACCUMULATE_ROUNDOFF * length**0.5 * (magnitude + 0.5 * out.abs())
        noisy: Tensor = out + spread * self._noise(out)
        return noisy

    def _normalised(self, out: Tensor, length: float) -> Tensor:
        """Statistics over rows of ``length``: their error scales the row's values."""
        spread = ACCUMULATE_ROUNDOFF * length**0.5 * 0.5 * (out.abs() + _rms(out))
        return torch.addcmul(out, spread, self._noise(out))

    def _reduced(self, out: Tensor, source: Tensor, name: str) -> Tensor:
        length = max(1.0, source.numel() / max(1, out.numel()))
        scale = out.abs()
        if name in ("sum", "mean", "cumsum"):
            share = length**0.5 * _rms(source) / (length if name == "mean" else 1.0)
            scale = scale * 0.5 + share
        return torch.addcmul(out, ACCUMULATE_ROUNDOFF * length**0.5 * scale, self._noise(out))


def _row_length(out: Any, source: Tensor, args: tuple[Any, ...]) -> float:  # noqa: ANN401
    """How many values one statistic of a normalisation runs over."""
    if isinstance(out, (tuple, list)):
        statistics = next((o for o in out[1:] if isinstance(o, Tensor) and o.numel()), None)
        if statistics is not None:
            return float(max(1, source.numel() // statistics.numel()))
        return float(max(1, source.numel() // max(1, source.shape[1] if source.dim() > 1 else 1)))
    axis = args[1] if len(args) > 1 and isinstance(args[1], int) else -1
    return float(max(1, source.shape[axis] if source.dim() else 1))


def _is_fp64(value: Tensor) -> bool:
    return value.dtype == torch.float64


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _contraction_length(func: Any, args: tuple[Any, ...]) -> float:  # noqa: ANN401
    if func is _aten.convolution.default:
        weight: Tensor = args[1]
        return float(max(1, weight[0].numel()))
    left: Tensor = args[_CONTRACTIONS[func][0]]
    return float(max(1, left.shape[-1]))
