"""What this card does at best today: a large copy, large matrix products. Measured, not looked up.

Clocks, power limits and neighbours differ from card to card, so a roofline from a datasheet flatters nobody.
Method: medians of event times; rates count bytes read plus written, and two operations per multiply-add.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from kforge.eval.precision_policy import apply_policy
from kforge.types import Ceilings

COPY_BYTES = 1 << 30
SIDE = 8192
REPEATS = 5
_FLOPS = 2 * SIDE**3


def measure_ceilings(device: torch.device) -> Ceilings:
    """Measure a CUDA device; takes about half a second and 3 GiB, given back afterwards."""
    copy_us = _copy_us(device)
    apply_policy("tf32")
    tf32_us = _product_us(device, torch.float32)
    apply_policy("ieee")
    ceilings = Ceilings(
        copy_bytes_per_s=2 * COPY_BYTES / (copy_us * 1e-6),
        ieee_flops=_FLOPS / (_product_us(device, torch.float32) * 1e-6),
        tf32_flops=_FLOPS / (tf32_us * 1e-6),
        fp16_flops=_FLOPS / (_product_us(device, torch.float16) * 1e-6),
        bf16_flops=_FLOPS / (_product_us(device, torch.bfloat16) * 1e-6),
    )
    torch.cuda.empty_cache()
    return ceilings


def _copy_us(device: torch.device) -> float:
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _median_us(lambda: target.copy_(source))


def _product_us(device: torch.device, dtype: torch.dtype) -> float:
    # Random values: products of zeros draw less power, and so run at higher clocks.
    left = torch.randn(SIDE, SIDE, device=device).to(dtype)
    right = torch.randn(SIDE, SIDE, device=device).to(dtype)
    out = torch.empty_like(left)
    return _median_us(lambda: torch.mm(left, right, out=out))


def _median_us(work: Callable[[], object]) -> float:
    work()
    times: list[float] = []
    for _ in range(REPEATS):
        begun = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        begun.record()
        work()
        ended.record()
        ended.synchronize()
        times.append(float(begun.elapsed_time(ended)) * 1e3)
    return statistics.median(times)
