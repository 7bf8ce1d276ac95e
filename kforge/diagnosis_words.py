"""A diagnosis as lines of text, for a person and for a model."""

from __future__ import annotations

from kforge.diagnosis_types import Diagnosis, Evidence, Limiter, Occupancy, PlanFacts

_BASIS = {"static": "seen in the code", "timed": "follows from the time", "profiled": "counted while it ran"}


def diagnosis_lines(found: Diagnosis) -> list[str]:
    """One line per limiter, the largest first, then what is not known."""
    lines = [f"{number}. {_limiter(limiter)}" for number, limiter in enumerate(found.limiters, 1)]
    if found.unknown:
        lines.append(f"Not known: {'; '.join(found.unknown)}.")
    return lines


def _limiter(limiter: Limiter) -> str:
    where = f" in {limiter.kernel}" if limiter.kernel else ""
    figures = ", ".join(_figure(evidence) for evidence in limiter.evidence)
    return (
        f"{limiter.name.replace('_', ' ')}{where}, about {limiter.share:.0%} of the time "
        f"({_BASIS[limiter.basis]}: {figures}). {limiter.action}"
    )


def _figure(evidence: Evidence) -> str:
    value = evidence.value
    number = f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{evidence.name} {number}{' ' if evidence.unit[:1].isalnum() else ''}{evidence.unit}"


def launch_lines(plan: PlanFacts) -> list[str]:
    """Geometry and occupancy of every kind of launch."""
    return [
        f"{launch.kernel}: {launch.launches} x {launch.blocks} blocks of {launch.threads_per_block} threads, "
        f"{launch.static_shared_bytes + launch.dynamic_shared_bytes} B shared memory, "
        + ("occupancy not known" if launch.occupancy is None else _occupancy(launch.occupancy, launch.waves))
        for launch in plan.launches
    ]


def _occupancy(fits: Occupancy, waves: float | None) -> str:
    limits = " and ".join(limit.replace("_", " ") for limit in fits.limits)
    grid = "" if waves is None else f", {waves:.3g} waves"
    return (
        f"{fits.warps_per_sm} of {fits.max_warps_per_sm} warps per SM ({fits.share:.0%}, limited by {limits})"
        f"{grid}"
    )
