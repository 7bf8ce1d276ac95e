"""Many searches: every arm on every landscape from the same starts, over the processors of this machine."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from kforge.errors import InfraError
from kforge.search.landscapes.landscape import Landscape
from kforge.search.landscapes.simulate import Ground, search
from kforge.search.strategies.base import Draw, Strategy
from kforge.search.strategies.registry import STRATEGIES

# How many parameters a step changes on average.
STEPS = {"small": 1.5, "large": 4.0}
# A control: uniform MAP-Elites with the cells of the landscape dealt out anew, so that they mean nothing.
CONTROL, CONTROL_OF = "random-cells", "map-elites"
ARMS = (*STRATEGIES, CONTROL)


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What the arms are compared under: the name of the step, and candidates under way at a time."""

    steps: str
    workers: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run.

    Attributes:
        evals: evaluations after which the arms are compared, rising.
        seeds: searches of each arm on each landscape under each setting.
        seed: where all random numbers come from.
    """

    arms: tuple[str, ...]
    settings: tuple[Setting, ...]
    evals: tuple[int, ...]
    seeds: int
    seed: int


@dataclass(frozen=True, slots=True)
class Runs:
    """The searches of one arm on one landscape under one setting.

    Attributes:
        fractions: optimum / best after ``plan.evals``; one row per seed.
        times: mean recorded time of the best after each evaluation, over the seeds.
        curve: mean of optimum / best after each evaluation.
    """

    fractions: NDArray[np.float64]
    times: NDArray[np.float64]
    curve: NDArray[np.float64]


# (landscape's place, arm, setting)
Job = tuple[int, str, Setting]


def run_all(
    plan: Plan,
    landscapes: Sequence[Landscape],
    *,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> dict[Job, Runs]:
    """Every job of the plan. The result does not depend on the number of processes.

    Args:
        plan: what is run.
        landscapes: what it is run on.
        processes: at most so many; as many as there are processors by default.
        progress: told how many jobs of how many are done.

    Raises:
        InfraError: a process died, for want of memory most likely.
    """
    jobs: list[Job] = list(product(range(len(landscapes)), plan.arms, plan.settings))
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    done: dict[Job, Runs] = {}
    if processes == 1:
        _begin(plan, tuple(landscapes))
        for job in jobs:
            done[job] = _run(job)
            progress(len(done), len(jobs))
        return done
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _begin_child, (plan, tuple(landscapes)))
    try:
        futures = {pool.submit(_run, job): job for job in jobs}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            progress(len(done), len(jobs))
    except BrokenProcessPool as error:
        raise InfraError("A process of the comparison died.", "use fewer --seeds or smaller files") from error
    finally:
        pool.shutdown(cancel_futures=True)
    return {job: done[job] for job in jobs}


# What this process works on; a landscape is too large to come along with every job.
_held: list[tuple[Plan, tuple[Landscape, ...]]] = []


def _begin(plan: Plan, landscapes: tuple[Landscape, ...]) -> None:
    _held[:] = [(plan, landscapes)]
    _ground.cache_clear()


def _begin_child(plan: Plan, landscapes: tuple[Landscape, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the pool
    _begin(plan, landscapes)


@cache
def _ground(place: int, steps: str, dealt_anew: bool) -> Ground:
    plan, landscapes = _held[0]
    ground = Ground(landscapes[place], STEPS[steps])
    if dealt_anew:
        ground.cells = list(ground.cells)
        random.Random(f"{plan.seed}/{landscapes[place].name}/cells").shuffle(ground.cells)
    return ground


def _run(job: Job) -> Runs:
    place, arm, setting = job
    plan, landscapes = _held[0]
    landscape = landscapes[place]
    ground = _ground(place, setting.steps, arm == CONTROL)
    make: Callable[[Draw], Strategy] = STRATEGIES[CONTROL_OF if arm == CONTROL else arm]
    best = np.array(
        [
            search(
                ground,
                make,
                random.Random(f"{plan.seed}/{landscape.name}/{number}"),
                evals=plan.evals[-1],
                workers=setting.workers,
            ).best
            for number in range(plan.seeds)
        ]
    )
    fractions = landscape.optimum / best
    return Runs(fractions[:, np.array(plan.evals) - 1], best.mean(axis=0), fractions.mean(axis=0))
