"""What limits a candidate, in order: a pure function of its task, its device, its code and its time.

Every rule says how much of the time it may cost. Rules about code compare the pipes of an SM (``pipes``);
they explain what the roofline leaves of the time. Rules about launches and bytes are worked out in
microseconds. A share is an estimate that orders limiters, no measurement. ``docs/diagnosis.md`` has them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kforge.bounds import bound_of, traffic_bytes
from kforge.diagnosis_types import (
    Diagnosis,
    Evidence,
    Limiter,
    MeasuredMetrics,
    Roofline,
    UnseenAccess,
)
from kforge.eval import code_rules, plan_rules
from kforge.eval.advice import ADVICE
from kforge.eval.architectures import WARP, architecture
from kforge.eval.case import Case, Running
from kforge.eval.pipes import flaws_of, pipes_of

# From here on a candidate is at its bound: clocks and the copy rate itself vary by what is left.
NEAR_SHARE = 0.85
# Below this a limiter is not worth a model's attention.
LEAST_SHARE = 0.05
MAX_LIMITERS = 5
# Unread addresses that are fewer than this share of a kernel's accesses are not worth a word.
NOTABLE_UNSEEN = 0.05


def diagnose(case: Case) -> Diagnosis:
    """Where a candidate stands, and what limits it, the largest first."""
    roofline = roofline_of(case)
    left = 1.0 if roofline is None else max(0.0, 1.0 - roofline.fraction)
    running = _running(case)
    found = [
        limiter
        for k in running
        for rule in code_rules.RULES
        if (limiter := rule(k, case.workload, left * k.weight)) is not None
    ]
    found += plan_rules.found(case, running, roofline, left)
    found = sorted((x for x in found if x.share >= LEAST_SHARE), key=lambda limiter: -limiter.share)
    unknown = [word for k in running for word in unseen_words(k)]
    if architecture(case.device.arch) is None:
        unknown.append(f"limits and rates of {case.device.arch}")
    return Diagnosis(roofline, _ordered(found, roofline, left), tuple(dict.fromkeys(unknown)))


def _ordered(found: Sequence[Limiter], roofline: Roofline | None, left: float) -> tuple[Limiter, ...]:
    """With the bound itself first where the candidate has reached it, and with what nothing explains."""
    if roofline is None:
        return tuple(found[:MAX_LIMITERS])
    if roofline.fraction >= NEAR_SHARE:
        return (at_bound(roofline), *found)[:MAX_LIMITERS]
    if found:
        return tuple(found[:MAX_LIMITERS])
    over = (Evidence("time above the bound", left * roofline.time_us, "us"),)
    rest = Limiter("unexplained", None, left, "timed", over, ADVICE["unexplained"])
    return (at_bound(roofline), rest) if roofline.fraction > left else (rest,)


def roofline_of(case: Case) -> Roofline | None:
    """The measured time against the task's bound."""
    if case.time_us is None or case.ceilings is None:
        return None
    bound = bound_of(case.workload, case.ceilings, case.precision)
    moved, flops, seconds = traffic_bytes(case.workload), case.workload.flops, case.time_us * 1e-6
    return Roofline(
        time_us=case.time_us, bytes=moved, flops=flops, achieved_bytes_per_s=moved / seconds,
        achieved_flops_per_s=flops / seconds if flops else None, memory_us=bound.memory_us,
        arithmetic_us=bound.arithmetic_us, limit=bound.limit, fraction=bound.bound_us / case.time_us,
    )  # fmt: skip


def at_bound(roofline: Roofline) -> Limiter:
    """The bound as a limiter. Source: Williams et al. 2009, "Roofline"."""
    of = Evidence("share of the bound", roofline.fraction)
    share = min(1.0, roofline.fraction)
    if roofline.limit == "memory":
        achieved = Evidence("achieved", roofline.achieved_bytes_per_s / 1e9, "GB/s")
        return Limiter("memory_bandwidth", None, share, "timed", (achieved, of), ADVICE["memory_bandwidth"])
    achieved = Evidence("achieved", (roofline.achieved_flops_per_s or 0.0) / 1e12, "TFLOP/s")
    return Limiter("arithmetic", None, share, "timed", (achieved, of), ADVICE["arithmetic"])


def _running(case: Case) -> list[Running]:
    """Every kind of launch whose code and architecture are known, with its estimated share of the work."""
    limits = architecture(case.device.arch)
    if limits is None:
        return []
    mixes = {kernel.name: kernel.mix for kernel in case.facts.kernels}
    found: list[Running] = []
    for launch in case.plan.launches:
        mix = mixes.get(launch.kernel)
        if mix is None:
            continue
        metrics = case.metrics.get(launch.kernel)
        flaws = flaws_of(launch, mix, limits, metrics)
        pipes = pipes_of(launch, mix, limits, flaws)
        warps = launch.launches * launch.blocks * -(-launch.threads_per_block // WARP)
        found.append(Running(launch, mix, pipes, flaws, metrics, limits, pipes.busiest * warps))
    total = sum(k.weight for k in found) or 1.0
    return [replace(k, weight=k.weight / total) for k in found]


def unseen_words(k: Running) -> list[str]:
    """What of a kernel's addresses the machine code does not give away."""
    launch = k.launch
    if not launch.accesses and (k.mix.global_loads or k.mix.global_stores):
        return [f"how {launch.kernel} addresses memory: there is too much code to follow"]
    words = {
        "run_time_stride": "set at run time",
        "depends_on_data": "read from memory",
        "not_followed": "not followed in the machine code",
    }
    total = sum(access.count for access in launch.accesses) or 1.0
    hidden = [a for a in launch.accesses if isinstance(a, UnseenAccess)]
    return [
        f"how {launch.kernel} addresses {space} memory in {share:.0%} of its accesses: {said}"
        for space in ("global", "shared")
        for why, said in words.items()
        if (share := sum(a.count for a in hidden if a.space == space and a.why == why) / total)
        >= NOTABLE_UNSEEN
    ]


def with_metrics(case: Case, metrics: Sequence[MeasuredMetrics]) -> Case:
    """The same case with a profiler's counts."""
    return replace(case, metrics={found.kernel: found for found in metrics})
