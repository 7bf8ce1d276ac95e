"""M_p: the reference with the rounding an honest kernel of precision p would have.

The fp64 reference runs under a dispatch mode that rounds contraction operands to p, disturbs every
contraction and reduction of length L by what fp32 accumulation costs, and rounds each operator's output to
its storage type. Compound operators (norms, softmax, losses) are taken apart first, so that the error of a
row's mean or sum is shared by the row, as it is in a kernel. The spread of M_p around the truth is what a
correct kernel may be off by. Source: design section 6; formulae and measurements in docs/evaluation.md.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kforge.eval.compound_ops import COMPOUND
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
# Random walk of a sum: every partial sum is rounded; measured 0.17 * sqrt(L) for positive values.
REDUCTION_WALK = 0.25
CONTRACTION_WALK = 0.5
# What device libraries promise for functions, division and roots, in units of the output's last place.
FUNCTION_ULPS = 2.0
_BLOCK_VALUES = 1 << 22
CHAIN = 4096

_aten = torch.ops.aten
_CONTRACTIONS = {
    _aten.convolution.default: (0, 1),
    _aten.mm.default: (0, 1),
    _aten.bmm.default: (0, 1),
    _aten.addmm.default: (1, 2),
    _aten.baddbmm.default: (1, 2),
    _aten.mv.default: (0, 1),
    _aten.addmv.default: (1, 2),
    _aten.dot.default: (0, 1),
}
_FUNCTIONS = frozenset(
    [
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "sqrt",
        "rsqrt",
        "reciprocal",
        "div",
        "pow",
        "sin",
        "cos",
        "tan",
        "tanh",
        "sinh",
        "cosh",
        "asin",
        "acos",
        "atan",
        "atan2",
        "erf",
        "erfc",
        "sigmoid",
        "log_sigmoid_forward",
        "silu",
        "mish",
        "gelu",
        "softplus",
        "elu",
        "celu",
        "selu",
        "hardswish",
        "xlogy",
        "special_entr",
        "logaddexp",
    ]
)


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


def sequential_sum(rows: Tensor) -> Tensor:
    """The plainest honest kernel: each row of (rows, length) summed in order, in fp32.

    Its rounding errors line up where values repeat or a few large ones swallow the rest, which no random
    walk describes.
    """
    if rows.device.type != "cpu":
        return _chained_sum(rows.float())
    count, length = rows.shape
    total = np.zeros(count, dtype=np.float32)
    step = max(1, _BLOCK_VALUES // max(1, count))
    for start in range(0, length, step):
        block = rows[:, start : start + step].float().numpy().copy()
        block[:, 0] += total
        total = np.add.accumulate(block, axis=1)[:, -1]
    return torch.from_numpy(total.copy()).double()


def _chained_sum(rows: Tensor) -> Tensor:
    """``sequential_sum`` on a GPU, whose honest threads chain at most ``CHAIN`` additions each."""
    while rows.shape[1] > 1:
        count, length = rows.shape
        chain = min(length, CHAIN)
        links = -(-length // chain)
        # Column j holds the j-th link of every chain, so that one addition advances all of them.
        columns = rows.new_zeros((chain, count, links))
        whole = length // chain
        columns[:, :, :whole] = rows[:, : whole * chain].reshape(count, whole, chain).permute(2, 0, 1)
        if whole < links:
            columns[: length - whole * chain, :, whole] = rows[:, whole * chain :].t()
        total = columns[0].clone()
        for column in columns[1:]:
            total += column
        rows = total
    return rows.reshape(-1).double()


class NoiseMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators in fp64 with the noise of precision p. One instance per run.

    Args:
        precision: p.
        rng: of the noise.
        in_order: relative error of each sum when added in order, filled by the first run over some values
            and read by further runs over the same values.
    """

    def __init__(self, precision: Precision, rng: torch.Generator, in_order: dict[int, float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._roundoff = UNIT_ROUNDOFF[precision]
        self._storage = STORAGE_DTYPE[precision]
        self._rng = rng
        self._in_order = in_order
        self._sums = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operator: operands rounded, noise added, output rounded to storage."""
        kwargs = kwargs or {}
        first = next((a for a in args if isinstance(a, Tensor)), None)
        if func.is_view or first is None or not _is_fp64(first):
            return func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        if func in _CONTRACTIONS:
            return self._store(self._contraction(func, args, kwargs))
        if func in COMPOUND:
            with self:
                return COMPOUND[func](*args, **kwargs)
        out = func(*args, **kwargs)
        if func._schema.is_mutable or not isinstance(out, Tensor):
            return out
        if name in ("sum", "mean", "cumsum"):
            out = self._summed(out, first, name, args, kwargs)
        elif name == "prod":
            length = first.numel() / max(1, out.numel())
            out = self._disturb(out, ACCUMULATE_ROUNDOFF * length**0.5 * out.abs())
        elif name in _FUNCTIONS:
            out = self._disturb(out, FUNCTION_ULPS * ACCUMULATE_ROUNDOFF * out.abs())
        return self._store(out)

    def _store(self, values: Tensor) -> Tensor:
        return values.to(self._storage).to(torch.float64) if _is_fp64(values) else values

    def _disturb(self, values: Tensor, spread: Tensor) -> Tensor:
        """Move every value up or down by 0.5 to 1.5 of its spread: neither luck nor cancellation hides it."""
        if not _is_fp64(values):
            return values
        drawn = torch.rand(values.shape, generator=self._rng, device=self._rng.device) - 0.5
        return torch.addcmul(values, spread, (drawn + drawn.sign() * 0.5).double())

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
        walk = CONTRACTION_WALK * ACCUMULATE_ROUNDOFF * length**0.5
        return self._disturb(out, walk * (magnitude + 0.5 * out.abs()))

    def _summed(
        self, out: Tensor, source: Tensor, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        dims: Any = args[1] if len(args) > 1 else kwargs.get("dim")
        if name == "cumsum":
            length = source.shape[dims] if source.dim() else 1
            size = source.square().cumsum(dims).sqrt()
        else:
            size = source.square().sum(_dims(source, dims)).sqrt().reshape(out.shape)
            length = source.numel() // max(1, out.numel())
        unit = length if name == "mean" else 1
        scale = out.abs() + size / max(1, unit)
        self._sums += 1
        if self._sums not in self._in_order:
            added = _added_in_order(source, dims, name == "cumsum").reshape(out.shape) / max(1, unit)
            # One row's luck with its values is no measure: the worst row's share stands for all rows.
            shares = ((added - out).abs() / scale.clamp_min(1e-300)).nan_to_num(0.0, 0.0, 0.0)
            self._in_order[self._sums] = float(shares.max()) if shares.numel() else 0.0
        walk = REDUCTION_WALK * ACCUMULATE_ROUNDOFF * length**0.5
        return self._disturb(out, max(walk, self._in_order[self._sums]) * scale)


def _added_in_order(source: Tensor, dims: Any, running: bool) -> Tensor:  # noqa: ANN401
    if running and source.device.type != "cpu":
        return source.float().cumsum(dims).double()
    if running:
        return torch.from_numpy(np.cumsum(source.float().numpy(), axis=dims, dtype=np.float32)).double()
    reduced = sorted(_dims(source, dims))
    kept = [d for d in range(source.dim()) if d not in reduced]
    length = math.prod(source.shape[d] for d in reduced)
    return sequential_sum(source.float().permute(*kept, *reduced).reshape(-1, length))


def _dims(source: Tensor, dims: Any) -> list[int]:  # noqa: ANN401
    chosen = [dims] if isinstance(dims, int) else list(dims or range(source.dim()))
    return [d % max(1, source.dim()) for d in chosen]


def _is_fp64(value: Tensor) -> bool:
    return value.dtype == torch.float64


def _contraction_length(func: Any, args: tuple[Any, ...]) -> float:  # noqa: ANN401
    if func is _aten.convolution.default:
        weight: Tensor = args[1]
        return float(max(1, weight[0].numel()))
    left: Tensor = args[_CONTRACTIONS[func][0]]
    return float(max(1, left.shape[-1]))
