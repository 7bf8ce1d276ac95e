"""The build stage of one candidate: screen, plan, bind, compile, facts. Cheapest first."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from kforge.codec import to_json
from kforge.eval.bind import check_arguments
from kforge.eval.classify import classify
from kforge.eval.compile import CachedBuild, cached_build
from kforge.eval.inspection import INSPECTORS
from kforge.eval.plan import BoundPlan, LaunchPlan, LaunchStep, Waves
from kforge.eval.plan_process import plan_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL, Protocol
from kforge.eval.screen import screen_source
from kforge.eval.signature import Signatures
from kforge.types import (
    BuildFailed,
    Built,
    CandidateSource,
    DeviceInfo,
    InfraFailed,
    Rejected,
    Scalar,
    ScreenedOut,
    TaskDescription,
    Track,
)


async def build_candidate(
    source: CandidateSource,
    tune: Mapping[str, Scalar],
    task: TaskDescription,
    *,
    device: DeviceInfo,
    track: Track,
    cache_dir: Path,
    protocol: Protocol = DEFAULT_PROTOCOL,
) -> Built | Rejected | InfraFailed:
    """Take a parsed candidate to an executable module with a bound plan per workload.

    Raises:
        MissingPrerequisite: no builder or compiler for its language.
        InfraError: the cache cannot be written.
    """
    started = time.monotonic()
    if protocol.has("token_screen"):
        refused = screen_source(source)
        if refused is not None:
            return refused
    signatures = INSPECTORS[source.language].signatures(source.device_code, tune)
    if not isinstance(signatures, Signatures):
        return signatures
    plans: dict[str, BoundPlan] = {}
    for workload in task.workloads:
        plan = await plan_candidate(source, tune, workload, device, track, protocol=protocol)
        bound = check_arguments(plan, signatures) if isinstance(plan, LaunchPlan) else plan
        if not isinstance(bound, BoundPlan):
            return bound
        plans[workload.name] = bound
    compiled = await cached_build(source, tune, device, cache_dir)
    if not isinstance(compiled, CachedBuild):
        return compiled
    return _finish(
        compiled, signatures, plans,
        device=device, seconds=time.monotonic() - started, protocol=protocol,
    )  # fmt: skip


def _finish(
    compiled: CachedBuild,
    signatures: Signatures,
    plans: Mapping[str, BoundPlan],
    *,
    device: DeviceInfo,
    seconds: float,
    protocol: Protocol,
) -> Built | Rejected | InfraFailed:
    bound_plans = list(plans.values())
    try:
        found = INSPECTORS[device.language].inspect(compiled, signatures, bound_plans, device)
    except ValueError as error:
        return BuildFailed(f"the compiled code cannot be read: {error}", compiled.log)
    except OSError as error:
        return InfraFailed(f"the build cache lost {compiled.module_path}: {error.strerror}")
    if found.forbidden is not None and protocol.has("module_audit"):
        return ScreenedOut(f"the compiled device code contains {found.forbidden}", "device_code")
    if found.mismatch is not None:
        return found.mismatch
    # Measures describe the code, so the first workload's launches stand for all of them.
    first = bound_plans[0].plan
    return Built(
        key=compiled.key,
        module_path=str(compiled.module_path),
        plans={name: to_json(plan) for name, plan in plans.items()},
        facts=found.facts,
        measures=classify(found.facts, launched_items(first, device), launches(first)),
        library_ops=tuple(sorted({op for plan in bound_plans for op in plan.plan.library_ops})),
        log=compiled.log,
        cached=compiled.cached,
        build_s=seconds,
        plan_facts=dict(zip(plans, found.plans, strict=False)),
    )


def launched_items(plan: LaunchPlan, device: DeviceInfo) -> dict[str, int]:
    """Kernel name to work-items over one run of the plan; a grid in waves counts as a full device."""
    items: dict[str, int] = {}
    for step in plan.steps:
        if isinstance(step, LaunchStep):
            if isinstance(step.grid, Waves):
                count = step.grid.waves * device.sm_count * device.max_threads_per_sm
            else:
                count = math.prod(step.grid) * math.prod(step.block)
            items[step.kernel] = items.get(step.kernel, 0) + count
    return items


def launches(plan: LaunchPlan) -> int:
    """Kernel launches in one run of the plan."""
    return sum(isinstance(step, LaunchStep) for step in plan.steps)
