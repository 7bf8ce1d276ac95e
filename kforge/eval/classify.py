"""From build facts to the three measures of the archive. First version; thresholds in docs/measures.md.

A level is held by the kernels that do at least half of the estimated work.
"""

from __future__ import annotations

from collections.abc import Mapping

from kforge.eval.facts import work_share
from kforge.types import BuildFacts, KernelFacts, Measures

HOLDING_SHARE = 0.5
WIDE_SHARE = 0.5
LOCAL_SHARE = 0.1
STAGED_SHARE = 0.5
REGISTER_BLOCKING_RATIO = 3.0
TILED_FLOPS_PER_LOAD = 4.0


def classify(facts: BuildFacts, launched_items: Mapping[str, int], launches: int) -> Measures:
    """Place a build in the archive's grid.

    Args:
        facts: counts per kernel.
        launched_items: kernel name to work-items over one run of the plan.
        launches: kernel launches in one run of the plan, library operators not counted.

    Source: design section 7; static evidence (docs/measures.md).
    """
    shares = work_share(facts, launched_items)
    launched = [k for k in facts.kernels if launched_items.get(k.name, 0) > 0]

    def held(level: int, levels: Mapping[str, int]) -> bool:
        return sum(shares[name] for name, found in levels.items() if found >= level) >= HOLDING_SHARE

    def highest(levels: Mapping[str, int]) -> int:
        return max((level for level in (1, 2, 3) if held(level, levels)), default=0)

    return Measures(
        memory=highest({k.name: _memory(k) for k in launched}),
        compute=highest({k.name: _compute(k, launches) for k in launched}),
        parallelism=highest({k.name: _parallelism(k) for k in launched}),
    )


def _uses_local_tile(k: KernelFacts) -> bool:
    # Partial results that pass through local memory are no tile: what is loaded must be staged there.
    staged = k.local_stores > 0 and k.local_stores >= STAGED_SHARE * k.global_loads
    return staged and k.local_loads > 0 and k.local_loads >= LOCAL_SHARE * k.global_loads


def _memory(k: KernelFacts) -> int:
    if k.async_copies > 0 or (_uses_local_tile(k) and k.float_ops >= REGISTER_BLOCKING_RATIO * k.local_loads):
        return 3
    if _uses_local_tile(k):
        return 2
    if k.global_load_bytes > 0 and k.wide_load_bytes >= WIDE_SHARE * k.global_load_bytes:
        return 1
    return 0


def _compute(k: KernelFacts, launches: int) -> int:
    reused = k.global_loads > 0 and k.float_ops >= TILED_FLOPS_PER_LOAD * k.global_loads
    if k.matrix_ops > 0 or (_uses_local_tile(k) and k.loop_depth >= 1 and reused):
        return 3
    communicates = k.barriers + k.workgroup_ops + k.subgroup_ops + k.atomics > 0
    if launches == 1 and communicates and k.loading_loops == 1:
        return 2
    return 1 if launches == 1 else 0


def _parallelism(k: KernelFacts) -> int:
    group_wide = k.barriers + k.workgroup_ops > 0
    if k.atomics > 0 or (k.subgroup_ops > 0 and group_wide):
        return 3
    if k.subgroup_ops > 0:
        return 2
    return 1 if group_wide else 0
