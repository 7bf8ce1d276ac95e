"""``kforge bench search``: the strategies side by side on recorded landscapes, as one plain document."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kforge import __version__
from kforge.errors import UsageError
from kforge.search.landscapes.compare import Comparison, Estimate, compare, family_of
from kforge.search.landscapes.criteria import GREEDY, PLAIN, Criterion, judge
from kforge.search.landscapes.landscape import Landscape
from kforge.search.landscapes.read import read_landscapes
from kforge.search.landscapes.runs import ARMS, CONTROL, STEPS, Plan, Setting, run_all
from kforge.search.strategies.registry import SHIPPED, strategy_named

MAX_SEEDS, MAX_EVALS, MAX_WORKERS = 100_000, 10_000, 1024


@dataclass(frozen=True)
class SearchBench:
    """What was compared, and how it came out, one comparison for each setting."""

    plan: Plan
    landscapes: tuple[Landscape, ...]
    comparisons: tuple[Comparison, ...]

    def criteria(self, arm: str) -> tuple[Criterion, ...]:
        """Every criterion that could be judged, under every setting."""
        return tuple(criterion for comparison in self.comparisons for criterion in judge(comparison, arm))


def search_plan(
    strategies: Sequence[str],
    *,
    seeds: int,
    evals: Sequence[int],
    workers: Sequence[int],
    steps: str,
    seed: int,
) -> Plan:
    """What the options ask for; every arm and the control where no strategy is named.

    Raises:
        UsageError: an option has a value that it cannot have.
    """
    arms = tuple(dict.fromkeys(strategy_named(name, ARMS) for name in strategies)) or ARMS
    if not 2 <= seeds <= MAX_SEEDS:
        raise UsageError(f"--seeds {seeds} is not from 2 to {MAX_SEEDS}.", "use --seeds 500")
    if not evals or not all(1 <= n <= MAX_EVALS for n in evals):
        raise UsageError("--evals has a number that is not from 1 to 10000.", "use --evals 50,100,200")
    if not workers or not all(1 <= n <= MAX_WORKERS for n in workers):
        raise UsageError(f"--workers has a number that is not from 1 to {MAX_WORKERS}.", "use --workers 1")
    if steps not in (*STEPS, "both"):
        raise UsageError(f"--steps {steps!r} is unknown.", f"use --steps {', '.join(STEPS)} or both")
    named = tuple(STEPS) if steps == "both" else (steps,)
    settings = tuple(Setting(step, n) for step in named for n in sorted(set(workers)))
    return Plan(arms, settings, tuple(sorted(set(evals))), seeds, seed)


def bench_search(
    directory: Path,
    plan: Plan,
    *,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> SearchBench:
    """Run the plan on every landscape of a directory.

    Args:
        directory: with T4 results files or caches of Kernel Tuner.
        plan: what is run.
        processes: at most so many; as many as there are processors by default.
        progress: told how many parts of how many are done.

    Raises:
        UsageError: a landscape cannot be used.
        InfraError: a process died.
    """
    landscapes = read_landscapes(directory)
    runs = run_all(plan, landscapes, processes=processes, progress=progress)
    comparisons = tuple(compare(plan, landscapes, runs, setting) for setting in plan.settings)
    return SearchBench(plan, landscapes, comparisons)


def document(bench: SearchBench) -> dict[str, Any]:
    """Everything that was found, as JSON data."""
    plan = bench.plan
    return {
        "kforge": __version__,
        "default": SHIPPED,
        "control": CONTROL,
        "seeds": plan.seeds,
        "seed": plan.seed,
        "evals": list(plan.evals),
        "step_sizes": {setting.steps: STEPS[setting.steps] for setting in plan.settings},
        "bounds": "low and high are one-sided 95 % bounds each",
        "landscapes": [
            {
                "name": landscape.name,
                "family": family_of(landscape.name),
                "parameters": dict(zip(landscape.parameters, landscape.choices, strict=True)),
                "configurations": len(landscape.means),
                "working": int(np.isfinite(landscape.means).sum()),
                "optimum": landscape.optimum,
            }
            for landscape in bench.landscapes
        ],
        "rows": [row for comparison in bench.comparisons for row in _rows(comparison)],
        "means": [row for comparison in bench.comparisons for row in means(comparison)],
        "differences": [row for comparison in bench.comparisons for row in differences(comparison)],
        "criteria": [_criterion(criterion) for arm in plan.arms for criterion in bench.criteria(arm)],
        "curves": [row for comparison in bench.comparisons for row in _curves(comparison)],
    }


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for a, arm in enumerate(comparison.arms):
        for place, name in enumerate(comparison.names):
            for e, evals in enumerate(comparison.evals):
                yield {
                    "strategy": arm,
                    "landscape": name,
                    "family": family_of(name),
                    **_setting(comparison, evals),
                    **_said("fraction", comparison.on(name, arm, evals)),
                    "score": _number(comparison.scores[a, place, e]),
                }


def means(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Every arm's mean over the landscapes, after each number of evaluations."""
    for a, arm in enumerate(comparison.arms):
        for evals in comparison.evals:
            yield {
                "strategy": arm,
                **_setting(comparison, evals),
                **_said("fraction", comparison.overall(arm, evals)),
                "score": _number(comparison.score_curves[a, evals - 1]),
            }


def differences(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """What every arm is above the best one, uniform MAP-Elites and greedy, paired by seed."""
    for arm in comparison.arms:
        for evals in comparison.evals:
            references = {"best": comparison.best(evals), PLAIN: PLAIN, GREEDY: GREEDY}
            for role, against in references.items():
                if against in comparison.arms:
                    yield {
                        "strategy": arm,
                        "reference": role,
                        "against": against,
                        **_setting(comparison, evals),
                        **_said("difference", comparison.overall(arm, evals, against)),
                    }


def _curves(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for a, arm in enumerate(comparison.arms):
        yield {
            "strategy": arm,
            "steps": comparison.setting.steps,
            "workers": comparison.setting.workers,
            "fraction": [_number(value) for value in comparison.curves[a]],
            "score": [_number(value) for value in comparison.score_curves[a]],
        }


def _criterion(criterion: Criterion) -> dict[str, Any]:
    return {
        "strategy": criterion.strategy,
        "criterion": criterion.said,
        "against": criterion.against,
        "family": criterion.family,
        "steps": criterion.steps,
        "workers": criterion.workers,
        "evals": criterion.evals,
        **_said("difference", criterion.difference),
        "limit": criterion.limit,
        "met": criterion.met,
        "met_by_mean": criterion.met_by_mean,
    }


def _setting(comparison: Comparison, evals: int) -> dict[str, Any]:
    return {"steps": comparison.setting.steps, "workers": comparison.setting.workers, "evals": evals}


def _said(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: round(estimate.mean, 6), "low": round(estimate.low, 6), "high": round(estimate.high, 6)}


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
