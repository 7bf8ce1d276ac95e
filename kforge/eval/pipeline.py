"""The build stage of one candidate: screen, plan, bind, compile, facts. Cheapest first."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kforge.codec import to_json
from kforge.eval.bind import check_arguments
from kforge.eval.classify import classify
from kforge.eval.compile import CachedBuild, cached_build
from kforge.eval.facts import build_facts, forbidden_features
from kforge.eval.layout import check_layout
from kforge.eval.plan import BoundPlan, LaunchPlan, LaunchStep
from kforge.eval.plan_process import plan_candidate
from kforge.eval.screen import screen_source
from kforge.eval.signature import Signature, Signatures, parse_signatures
from kforge.eval.syclbin import spirv_modules
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
) -> Built | Rejected | InfraFailed:
    """Take a parsed candidate to an executable module with a bound plan per workload.

    Raises:
        MissingPrerequisite: no builder or compiler for its language.
        InfraError: the cache cannot be written.
    """
    started = time.monotonic()
    refused = screen_source(source)
    if refused is not None:
        return refused
    signatures = parse_signatures(source.device_code, tune)
    if not isinstance(signatures, Signatures):
        return signatures
    plans: dict[str, BoundPlan] = {}
    for workload in task.workloads:
        plan = await plan_candidate(source, tune, workload, device, track)
        if not isinstance(plan, LaunchPlan):
            return plan
        bound = check_arguments(plan, signatures)
        if not isinstance(bound, BoundPlan):
            return bound
        plans[workload.name] = bound
    compiled = await cached_build(source, tune, device, cache_dir)
    if not isinstance(compiled, CachedBuild):
        return compiled
    launched = {name: signatures.kernels[name] for p in plans.values() for name in launched_items(p.plan)}
    return _finish(compiled, plans, tuple(launched.values()), time.monotonic() - started)


def _finish(
    compiled: CachedBuild, plans: Mapping[str, BoundPlan], launched: Sequence[Signature], seconds: float
) -> Built | Rejected:
    try:
        modules = spirv_modules(compiled.intermediate)
        forbidden = forbidden_features(modules)
        mismatch = check_layout(modules, launched)
        facts = build_facts(modules)
    except ValueError as error:
        return BuildFailed(f"the compiler's SPIR-V cannot be read: {error}", compiled.log)
    if forbidden is not None:
        return ScreenedOut(f"the compiled device code contains {forbidden}", "device_code")
    if mismatch is not None:
        return mismatch
    bound = list(plans.values())
    return Built(
        key=compiled.key,
        module_path=str(compiled.module_path),
        plans={name: to_json(plan) for name, plan in plans.items()},
        facts=facts,
        # Measures describe the code, so the first workload's launches stand for all of them.
        measures=classify(facts, launched_items(bound[0].plan), launches(bound[0].plan)),
        library_ops=tuple(sorted({op for plan in bound for op in plan.plan.library_ops})),
        log=compiled.log,
        cached=compiled.cached,
        build_s=seconds,
    )


def launched_items(plan: LaunchPlan) -> dict[str, int]:
    """Kernel name to work-items over one run of the plan."""
    items: dict[str, int] = {}
    for step in plan.steps:
        if isinstance(step, LaunchStep):
            count = math.prod(step.grid) * math.prod(step.block)
            items[step.kernel] = items.get(step.kernel, 0) + count
    return items


def launches(plan: LaunchPlan) -> int:
    """Kernel launches in one run of the plan."""
    return sum(isinstance(step, LaunchStep) for step in plan.steps)
