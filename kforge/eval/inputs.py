"""Input values: the task's own distribution first, then adversarial ones of the same kind.

Every draw comes from a torch generator whose seed the verifier alone knows. Kinds keep the adversarial
draws inside what the operators allow: a probability stays one, an index stays in range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, assert_never

import torch
from torch import Tensor

from kforge.types import InputKind, Precision

Distribution = Literal["own", "scaled", "heavy", "sparse", "cancelling", "wide"]
# Each once. Most bugs show on the own distribution: the timed outputs that are verified come from there too.
TRIALS: tuple[Distribution, ...] = ("own", "scaled", "heavy", "sparse", "cancelling", "wide")
OUTLIER_FRACTION = 1e-3
OUTLIER_SCALE = 30.0
# What a pair leaves when it cancels, relative to its size: lost by every type of 11 bits or fewer.
PAIR_REST = 0.4 * 2.0**-11
# Rows leave fp16's range (2^-24 to 65504) on either side, but not that of TF32 and bf16; squares and
# products of two rows stay finite in fp32.
WIDE_EXPONENT = 24
# Shares of negative zeros and of denormals among the wide values.
ODD_SHARE = 1.0 / 64.0
DENORMAL = 2.0**-130


def trials(precision: Precision) -> tuple[Distribution, ...]:
    """The distributions that a check draws from.

    Half precision cannot hold the wide rows, and pairs that cancel to less than a lower precision keeps
    would leave its allowance as large as the result: neither would say anything of an honest candidate.

    Args:
        precision: the candidate's declared one.
    """
    unfit: dict[Precision, frozenset[Distribution]] = {
        "ieee": frozenset(),
        "tf32": frozenset(["cancelling"]),
        "bf16": frozenset(["cancelling"]),
        "fp16": frozenset(["cancelling", "wide"]),
    }
    return tuple(d for d in TRIALS if d not in unfit[precision])


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one draw, on the device whose values it draws."""
    made = torch.Generator(device=device)
    made.manual_seed(seed)
    return made


def transform(
    own: Tensor,
    kind: InputKind,
    distribution: Distribution,
    rng: torch.Generator,
    partner: Tensor | None = None,
) -> Tensor:
    """Turn a draw from the task's own distribution into one from ``distribution``.

    Args:
        own: any shape; integer, bool and ``fixed`` inputs are returned as they are.
        kind: what the values mean.
        distribution: which of the trial distributions.
        rng: of this draw alone, on the device of ``own``.
        partner: an earlier real input of this draw with the same shape; ``cancelling`` makes the two nearly
            equal, so that their difference is what cheaper arithmetic loses.

    Returns:
        A tensor of the same shape, dtype and layout: ``own`` itself where nothing changes, for a full-size
        input is a large part of a card's memory.
    """
    if distribution == "own" or not own.is_floating_point():
        return own
    match kind:
        case "real" if distribution == "cancelling" and partner is not None:
            values = _nearly(partner, rng)
        case "real":
            values = _REAL[distribution](own, rng)
        case "positive":
            values = _REAL[distribution](own, rng).abs().add_(1e-3)
        case "probability":
            values = _probability(own, rng)
        case "index" | "sign" | "mask" | "fixed":
            return own
        case _:
            assert_never(kind)
    # The plan was made for the task's own strides: a transposed input stays transposed.
    if values.stride() == own.stride() and values.dtype == own.dtype:
        return values
    return torch.empty_like(own).copy_(values)


def _row_shape(x: Tensor) -> tuple[int, ...]:
    """Broadcast shape of one value per row: the leading dimensions, all but the last (at most two)."""
    leading = min(2, max(1, x.dim() - 1)) if x.dim() else 0
    return tuple(x.shape[:leading]) + (1,) * (x.dim() - leading)


def _randn(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng, dtype=torch.float32, device=rng.device)


def _rand(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng, device=rng.device)


def _scaled(own: Tensor, rng: torch.Generator) -> Tensor:
    """Every row gets its own scale (log-uniform over 16x) and shift, so no row can stand for another."""
    scale = torch.exp2(_rand(_row_shape(own), rng) * 4.0 - 2.0)
    shift = _randn(_row_shape(own), rng) * scale
    return torch.addcmul(shift, own, scale)


# The two below work in place where they can: a full-size input is up to a tenth of a card's memory.


def _heavy(own: Tensor, rng: torch.Generator) -> Tensor:
    """Log-normal tails on both signs, with sparse outliers worth many standard deviations."""
    values = _randn(tuple(own.shape), rng)
    values.mul_(_randn(tuple(own.shape), rng).mul_(0.5).exp_())
    outliers = _rand(tuple(own.shape), rng).lt_(OUTLIER_FRACTION)
    return values.mul_(outliers.mul_(OUTLIER_SCALE - 1.0).add_(1.0))


def _sparse(own: Tensor, rng: torch.Generator) -> Tensor:
    """Half exact zeros, the rest of both signs."""
    # One draw decides for each value: below a half it is zero, below three quarters it changes its sign.
    drawn = _rand(tuple(own.shape), rng)
    zero = drawn < 0.5
    return drawn.sub_(0.75).sign_().masked_fill_(zero, 0.0).mul_(own)


def _cancelling(own: Tensor, rng: torch.Generator) -> Tensor:
    """Pairs (a + d, -a + d), d a fraction of a, that meet in a sum over any dimension or several.

    Along every dimension indices are paired at random; partners share a magnitude and differ in sign. A
    sum over paired values is the sum of d alone, which is lost entirely where operands are rounded.
    """
    size = own.float().abs()
    sign = torch.ones((), device=own.device)
    for dim, length in enumerate(own.shape):
        if length < 2:
            continue
        order = torch.randperm(length, generator=rng, device=rng.device)
        first, second = order[: length // 2], order[length // 2 : length // 2 * 2]
        source = torch.arange(length, device=own.device)
        source[second] = first
        size = size.index_select(dim, source)
        along = torch.zeros(length, device=own.device)  # an index without a partner holds zeros
        along[first], along[second] = 1.0, -1.0
        sign = sign * along.reshape([-1 if d == dim else 1 for d in range(own.dim())])
    # A magnitude that every type holds exactly: rounding a pair then loses d and nothing else.
    size = size.bfloat16().float()
    return torch.addcmul(size * (PAIR_REST * sign.abs()), size, sign)


def _nearly(partner: Tensor, rng: torch.Generator) -> Tensor:
    """Each value less 0.5 to 1 of what its rounding to 11 bits or fewer would lose."""
    shift = _rand(tuple(partner.shape), rng).mul_(0.5).add_(0.5).mul_(PAIR_REST)
    kept = partner.bfloat16().float()
    return torch.addcmul(kept, kept.abs(), shift, value=-1.0)


def _wide(own: Tensor, rng: torch.Generator) -> Tensor:
    """Rows scaled by 2^24 up or down, negative zeros and denormals among them."""
    up = _rand(_row_shape(own), rng).lt_(0.5).mul_(2.0).sub_(1.0)
    values = own.float() * torch.exp2(up * WIDE_EXPONENT)
    drawn = _rand(tuple(own.shape), rng)
    values = values.masked_fill_(drawn < ODD_SHARE, -0.0)
    return values.masked_fill_(drawn > 1.0 - ODD_SHARE, DENORMAL)


def _probability(own: Tensor, rng: torch.Generator) -> Tensor:
    """Another point of the simplex, of a random sharpness per row."""
    power = torch.exp2(_rand((*own.shape[:-1], 1), rng) * 4.0 - 1.0)
    logits = own.double().clamp_min(1e-30).log() * power + 0.3 * _randn(tuple(own.shape), rng)
    return torch.softmax(logits, dim=-1).clamp_min(1e-12).to(own.dtype)


_REAL: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "scaled": _scaled,
    "heavy": _heavy,
    "sparse": _sparse,
    "cancelling": _cancelling,
    "wide": _wide,
}
