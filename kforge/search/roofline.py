"""What a task costs at least on a device (``kforge.bounds``), and how far from that a time is, in words."""

from __future__ import annotations

from typing import get_args

from kforge.bounds import Bound, bound_of, flops_per_s, traffic_bytes
from kforge.types import Ceilings, Precision, WorkloadSpec

NEAR_SHARE = 0.85
FAR_SHARE = 0.5
# Below this a few launches, barriers and the ramp up and down of the device are most of the time.
SHORT_US = 10.0


def task_lines(workload: WorkloadSpec, ceilings: Ceilings | None) -> tuple[str, ...]:
    """The workload's least cost in words; without ceilings (no measured device) bytes and flops alone."""
    moved = bytes_text(traffic_bytes(workload))
    arithmetic = f" and does {flops_text(workload.flops)} in contractions" if workload.flops else ""
    lines = [f"moves at least {moved} (inputs, parameters and outputs once){arithmetic}"]
    if ceilings is None:
        return tuple(lines)
    if not workload.flops:
        bound = bound_of(workload, ceilings, "ieee")
        return (*lines, f"bound {us_text(bound.bound_us)} at any precision, set by memory")
    for precision in get_args(Precision):
        bound = bound_of(workload, ceilings, precision)
        lines.append(
            f"bound at {precision}: {us_text(bound.bound_us)}, set by {bound.limit} "
            f"(memory {us_text(bound.memory_us)}, arithmetic {us_text(bound.arithmetic_us)})"
        )
    return tuple(lines)


def position(
    workload: WorkloadSpec,
    latency_us: float,
    ceilings: Ceilings | None,
    precision: Precision,
    *,
    advise: bool = True,
) -> str:
    """Where a measured time stands, in words that say what to attack unless a diagnosis says it better."""
    moved, seconds = traffic_bytes(workload), latency_us / 1e6
    achieved = f"{bytes_text(moved)} in {us_text(latency_us)} is {_three(moved / seconds / 1e9)} GB/s"
    if workload.flops:
        achieved += f"; {flops_text(workload.flops)} is {_three(workload.flops / seconds / 1e12)} TFLOP/s"
    if ceilings is None:
        return f"{achieved}."
    bound = bound_of(workload, ceilings, precision)
    share = bound.bound_us / latency_us
    what = "memory traffic" if bound.limit == "memory" else f"{precision} arithmetic"
    return (
        f"bound {us_text(bound.bound_us)} set by {what}; {us_text(latency_us)} reaches {share:.0%} of it. "
        f"{achieved}, of {ceilings.copy_bytes_per_s / 1e9:,.0f} GB/s"
        + (f" and {flops_per_s(ceilings, precision) / 1e12:,.0f} TFLOP/s" if workload.flops else "")
        + " measured as possible."
        + (f" {_advice(bound, latency_us, share)}" if advise else "")
    )


def _advice(bound: Bound, latency_us: float, share: float) -> str:
    if share >= 1.0:
        return "At the bound: only less work than counted (a cheaper algorithm, cache reuse) can still gain."
    if latency_us < SHORT_US:
        return (
            "It is short: launches, barriers and ramp-up cost more than bytes or flops; use fewer launches."
        )
    if share >= NEAR_SHARE:
        return f"Close to the bound: little is left, and only by less {bound.limit} work."
    match bound.limit, share < FAR_SHARE:
        case "memory", True:
            return (
                "Far from the bound, so something else limits: tensors that cross memory repeatedly, slow "
                "library operators, too few bytes in flight, narrow or scattered accesses, too few blocks."
            )
        case "memory", False:
            return (
                "Memory is the limit: remove what traffic is left beyond one read and one write, keep more "
                "16-byte loads in flight per thread, overlap loads with stores."
            )
        case "arithmetic", True:
            return (
                "Far from the bound: arithmetic units wait for operands (tiling, staging, bank conflicts), "
                "or matrix instructions are not used."
            )
        case _:
            return "Arithmetic is the limit: larger tiles per warp, deeper staging, overlap of the epilogue."


def bytes_text(count: float) -> str:
    """``268 MB``, decimal units, three digits."""
    return _scaled(count, (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)), "B")


def flops_text(count: float) -> str:
    """``300 GFLOP``, three digits."""
    return _scaled(count, (("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("KFLOP", 1e3)), "FLOP")


def us_text(value_us: float) -> str:
    """``190 us``, ``4.29 us``, ``14,240 us``: three digits, or all in front of the point."""
    return f"{_three(value_us)} us"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _scaled(count: float, units: tuple[tuple[str, float], ...], plain: str) -> str:
    for unit, size in units:
        if count >= size:
            return f"{_three(count / size)} {unit}"
    return f"{count:.0f} {plain}"
