"""Limiters that are seen in a plan's launches, bytes and time rather than in one kernel's instructions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kforge.bounds import bound_of, traffic_bytes
from kforge.diagnosis_types import Evidence, Limiter, Roofline
from kforge.eval.advice import ADVICE, occupancy_advice
from kforge.eval.architectures import WARP
from kforge.eval.case import Case, Running
from kforge.eval.code_rules import NOTABLE
from kforge.types import DTYPE_BYTES, Ceilings, DeviceInfo, WorkloadSpec

# A plan of one short kernel: a relu of 16 Ki floats takes 4.1 us between two events on an H100 with the host
# ahead, and its bytes take 0.05.
FIRST_LAUNCH_US = 4.0
# Every further launch: the last one drains, the next one ramps up. An assumption until it is measured.
NEXT_LAUNCH_US = 2.0
# Time from a load to its data under load. Unloaded some 280 ns on an H100 (478 cycles, Luo et al. 2024,
# arXiv:2402.13499); queues double it near full bandwidth. An assumption until it is measured.
LATENCY_NS = 600.0
# Multiply-adds have a latency of 4 cycles, so each of four schedulers needs a few warps, fewer where each has
# independent work (Volkov 2010, "Better Performance at Lower Occupancy").
ARITHMETIC_WARPS = 8
LOW_OCCUPANCY = 0.5


def found(case: Case, running: Sequence[Running], roofline: Roofline | None, left: float) -> list[Limiter]:
    """All of them that hold, in no order.

    Args:
        case: the candidate.
        running: its launches whose code is known.
        roofline: None where no time is known.
        left: share of the time that the roofline leaves over.
    """
    limiters = [
        launch_overhead(case, roofline, left),
        extra_traffic(case, running, roofline, left),
        library_operators(case, left),
        no_tensor_cores(case, running, roofline),
    ]
    for k in running:
        limiters += [
            too_few_blocks(k, case.device, left * k.weight),
            partial_warps(k, left * k.weight),
            waiting(k, case, left * k.weight),
        ]
    return [limiter for limiter in limiters if limiter is not None]


def launch_overhead(case: Case, roofline: Roofline | None, left: float) -> Limiter | None:
    """Launches take microseconds in which no data moves. Needs a time.

    Source: the two constants above; CUDA C++ Programming Guide, "CUDA Graphs", on what a launch costs.
    """
    steps = sum(launch.launches for launch in case.plan.launches) + len(case.plan.operators)
    if roofline is None or not steps:
        return None
    overhead_us = FIRST_LAUNCH_US + NEXT_LAUNCH_US * (steps - 1)
    evidence = (
        Evidence("launches", steps),
        Evidence("estimated cost", overhead_us, "us"),
        Evidence("time", roofline.time_us, "us"),
    )
    share = min(left, overhead_us / roofline.time_us)
    return Limiter("launch_overhead", None, share, "timed", evidence, ADVICE["launch_overhead"])


def extra_traffic(
    case: Case, running: Sequence[Running], roofline: Roofline | None, left: float
) -> Limiter | None:
    """Bytes that cross memory more often than the task needs: intermediate results of several steps.

    From the tensors that each step is given, or from a profiler's count. Source: CUDA C++ Best Practices
    Guide, "Memory Optimizations": move fewer bytes.
    """
    needed = traffic_bytes(case.workload)
    measured = [
        k.metrics.dram_bytes * k.launch.launches
        for k in running
        if k.metrics is not None and k.metrics.dram_bytes is not None
    ]
    profiled = bool(measured) and len(measured) == len(case.plan.launches) and not case.plan.operators
    moved = sum(measured) if profiled else _given_bytes(case) + case.plan.operator_bytes
    if not needed or moved <= NOTABLE * needed:
        return None
    share = 1.0 - needed / moved
    if roofline is not None:
        share = roofline.memory_us * (moved / needed - 1.0) / roofline.time_us
    evidence = (
        Evidence("bytes of all steps", moved, "bytes"),
        Evidence("bytes that the task needs", needed, "bytes"),
    )
    return Limiter(
        "extra_traffic", None, min(left, share), "profiled" if profiled else "static", evidence,
        ADVICE["extra_traffic"],
    )  # fmt: skip


def _given_bytes(case: Case) -> int:
    return sum(launch.tensor_bytes * launch.launches for launch in case.plan.launches)


def library_operators(case: Case, left: float) -> Limiter | None:
    """What library operators move of all bytes; how long they take is not known without a profile."""
    moved = _given_bytes(case) + case.plan.operator_bytes
    if not case.plan.operators or not moved:
        return None
    share = case.plan.operator_bytes / moved
    evidence = (
        Evidence("library operators", len(case.plan.operators)),
        Evidence("their share of all bytes", share),
    )
    return Limiter(
        "library_operators", None, left * share, "static", evidence, ADVICE["library_operators"]
    )  # fmt: skip


def no_tensor_cores(case: Case, running: Sequence[Running], roofline: Roofline | None) -> Limiter | None:
    """Contractions on the ordinary units although the declared precision allows tensor cores.

    It costs the difference between the two measured rates. Source: CUDA C++ Programming Guide, "Warp Matrix
    Functions"; the device's ceilings.
    """
    ceilings, workload = case.ceilings, case.workload
    if case.precision == "ieee" or ceilings is None or case.plan.operators or not running:
        return None
    bound = bound_of(workload, ceilings, case.precision)
    if any(k.mix.matrix for k in running) or bound.limit != "arithmetic":
        return None
    plain_us = bound_of(workload, ceilings, "ieee").arithmetic_us
    gained_us = max(0.0, plain_us - bound.arithmetic_us)
    evidence = (
        Evidence("matrix instructions", 0),
        Evidence("rate without tensor cores", ceilings.ieee_flops / 1e12, "TFLOP/s"),
        Evidence(f"rate at {case.precision}", 1e-6 * workload.flops / bound.arithmetic_us, "TFLOP/s"),
    )
    share = gained_us / (plain_us if roofline is None else max(plain_us, roofline.time_us))
    return Limiter(
        "no_tensor_cores", None, share, "static" if roofline is None else "timed", evidence,
        ADVICE["no_tensor_cores"],
    )  # fmt: skip


def too_few_blocks(k: Running, device: DeviceInfo, left: float) -> Limiter | None:
    """SMs without a block, or a last wave that fills few of them.

    Source: CUDA C++ Best Practices Guide, "Thread and Block Heuristics": more blocks than SMs; NVIDIA,
    "Matrix Multiplication Background", on wave quantization.
    """
    blocks, sms, waves = k.launch.blocks, device.sm_count, k.launch.waves
    if blocks < sms:
        return Limiter(
            "too_few_blocks", k.launch.kernel, left * (1.0 - blocks / sms), "static",
            (Evidence("blocks", blocks), Evidence("SMs", sms)), ADVICE["too_few_blocks"],
        )  # fmt: skip
    if waves is None or waves <= 1.0:
        return None
    return Limiter(
        "tail_wave", k.launch.kernel, left * (1.0 - waves / math.ceil(waves)), "static",
        (Evidence("waves", waves), Evidence("blocks", blocks)), ADVICE["tail_wave"],
    )  # fmt: skip


def partial_warps(k: Running, left: float) -> Limiter | None:
    """Lanes without a thread: a block's last warp is not full.

    Source: CUDA C++ Best Practices Guide, "Thread and Block Heuristics": multiples of the warp size.
    """
    threads = k.launch.threads_per_block
    filled = threads / (WARP * -(-threads // WARP))
    if filled == 1.0:
        return None
    evidence = (Evidence("threads per block", threads), Evidence("share of lanes in use", filled))
    return Limiter(
        "partial_warps", k.launch.kernel, left * (1.0 - filled), "static", evidence, ADVICE["partial_warps"]
    )


def waiting(k: Running, case: Case, left: float) -> Limiter | None:
    """Too little under way to cover latency: Little's law on an SM's loads, or too few warps for arithmetic.

    Source: Volkov 2016, "Understanding Latency Hiding on GPUs"; CUDA C++ Best Practices Guide, "Occupancy".
    """
    fits, ceilings = k.launch.occupancy, case.ceilings
    if fits is None or ceilings is None:
        return None
    warps = _resident_warps(k, case.device)
    per_thread = k.mix.load_bytes_in_flight
    if bound_of(case.workload, ceilings, case.precision).limit == "arithmetic":
        missing = 1.0 - warps / ARITHMETIC_WARPS
        evidence = [Evidence("warps needed", ARITHMETIC_WARPS)]
    elif per_thread is None or k.mix.async_copies:
        return None  # what asynchronous copies have under way cannot be read off the code
    else:
        flying, needed = warps * WARP * per_thread, needed_in_flight(case.workload, case.device, ceilings)
        missing = 1.0 - flying / needed
        evidence = [
            Evidence("loads in flight", flying, "bytes per SM"),
            Evidence("needed", needed, "bytes per SM"),
        ]
    if missing <= 0:
        return None
    evidence.append(Evidence("resident warps", warps, f"of {fits.max_warps_per_sm}"))
    low = fits.share < LOW_OCCUPANCY
    if low:
        evidence.append(
            Evidence(f"blocks per SM, limited by {' and '.join(fits.limits)}", fits.blocks_per_sm)
        )
    return Limiter(
        "low_occupancy" if low else "few_bytes_in_flight", k.launch.kernel, left * missing, "static",
        tuple(evidence), occupancy_advice(fits) if low else ADVICE["few_bytes_in_flight"],
    )  # fmt: skip


def _resident_warps(k: Running, device: DeviceInfo) -> float:
    fits = k.launch.occupancy
    if fits is None:
        return 0.0
    if k.metrics is not None and k.metrics.achieved_occupancy is not None:
        return k.metrics.achieved_occupancy * fits.max_warps_per_sm
    per_block = -(-k.launch.threads_per_block // WARP)
    # A grid that does not fill the device leaves its SMs with fewer blocks than they could hold.
    return float(min(fits.warps_per_sm, math.ceil(k.launch.blocks / device.sm_count) * per_block))


def needed_in_flight(workload: WorkloadSpec, device: DeviceInfo, ceilings: Ceilings) -> float:
    """Bytes of loads that an SM must have under way to fill its part of the bandwidth: rate times latency."""
    moved = traffic_bytes(workload) or 1
    written = sum(math.prod(t.shape) * DTYPE_BYTES[t.dtype] for t in workload.outputs)
    read = max(0.25, 1.0 - written / moved)  # loads alone wait; a task that only writes is given a quarter
    return read * ceilings.copy_bytes_per_s / device.sm_count * LATENCY_NS * 1e-9
