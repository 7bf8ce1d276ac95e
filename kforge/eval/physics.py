"""What no kernel can beat: the bytes that must come from device memory, at the rate of this card.

Before a timed run the L2 is cold, so every input byte that the answer depends on is read from device memory,
and what is written beyond the L2's size goes back there. Which bytes the answer depends on is measured on the
reference: secret places of each input are overwritten, and the output must change. Beating the flop count is
no evidence, for honest algebra exists.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value

PLACES = 32
SECTOR_BYTES = 32
# A read stream may run a little faster than the copy that the rate was measured with.
SLACK = 0.95
# With k of n places seen to matter, at least this share of them does, at 95 %: the exact binomial bound.
CONFIDENCE = 0.05

Run = Callable[[Sequence[Value]], Sequence[Tensor]]


def least_us(
    inputs: Sequence[Value], outputs: Sequence[Tensor], shares: Sequence[float], l2_bytes: int, rate: float
) -> float:
    """Microseconds below which no run of a task can be.

    Args:
        inputs: of one draw.
        outputs: of the reference.
        shares: of ``needed_shares``.
        l2_bytes: size of the cache that may keep what is written.
        rate: bytes per second of a large copy, read plus written.
    """
    tensors = [v for v in inputs if isinstance(v, Tensor)]
    read = sum(t.numel() * t.itemsize * share for t, share in zip(tensors, shares, strict=True))
    written = max(0, sum(o.numel() * o.itemsize for o in outputs) - l2_bytes)
    return SLACK * (read + written) / rate * 1e6


def needed_shares(inputs: Sequence[Value], run: Run, secret: random.Random) -> list[float]:
    """Of each input tensor, the share of its sectors on which the output was seen to depend, at least.

    Args:
        inputs: of one draw; changed and restored.
        run: the reference in its own precision; it leaves its inputs as they are.
        secret: chooses the places.
    """
    expected = [o.clone() for o in run(inputs)]
    return [_share(value, inputs, expected, run, secret) for value in inputs if isinstance(value, Tensor)]


def _share(
    value: Tensor, inputs: Sequence[Value], expected: Sequence[Tensor], run: Run, secret: random.Random
) -> float:
    if value.numel() < PLACES or not value.is_floating_point() or not value.is_contiguous():
        return 0.0
    flat, width = value.view(-1), max(1, SECTOR_BYTES // value.itemsize)
    matter = sum(
        _matters(flat[start : start + width], inputs, expected, run)
        for start in (secret.randrange(flat.numel()) for _ in range(PLACES))
    )
    return lower_bound(matter, PLACES)


def _matters(place: Tensor, inputs: Sequence[Value], expected: Sequence[Tensor], run: Run) -> bool:
    """Whether another value at this place of an input changes an output."""
    kept = place.clone()
    try:
        # A large value of either sign: a maximum sees the one, a rectifier sees at least one of them.
        for changed in (1e4, -1e4):
            place.fill_(changed)
            if any(not torch.equal(a, b) for a, b in zip(run(inputs), expected, strict=True)):
                return True
        return False
    finally:
        place.copy_(kept)


def lower_bound(seen: int, tried: int) -> float:
    """The smallest share that is not refuted by seeing ``seen`` of ``tried`` (Clopper-Pearson, one-sided)."""
    low, high = 0.0, seen / tried
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(seen, tried, middle) < CONFIDENCE else (low, middle)
    return low


def _at_least(seen: int, tried: int, share: float) -> float:
    return sum(math.comb(tried, k) * share**k * (1 - share) ** (tried - k) for k in range(seen, tried + 1))
