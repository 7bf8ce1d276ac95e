"""What the offline rules write is a real candidate: it parses, plans, binds, compiles and is right."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from kforge.clock import SystemClock, secret_seed
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.bind import check_arguments
from kforge.eval.candidate import parse_candidate
from kforge.eval.plan import BoundPlan, LaunchPlan
from kforge.eval.plan_process import plan_candidate
from kforge.eval.screen import screen_source
from kforge.eval.signature import Signatures, parse_signatures
from kforge.search.offline import genes as breeding
from kforge.search.offline.assemble import candidate
from kforge.search.offline.genes import Genes, Recipe
from kforge.search.offline.registry import RECIPES
from kforge.types import Built, CandidateSource, DeviceInfo, Passed

IDS = [recipe.task_id for recipe in RECIPES]
CPU = DeviceInfo(
    language="sycl", backend="opencl", name="cpu", arch="x86_64", driver="0", sm_count=2, max_work_group=8192,
    shared_per_sm=262144, shared_optin=262144, regs_per_sm=0, max_cluster=1, max_threads_per_sm=8192,
    warp_size=64, l2_bytes=1 << 20, memory_bytes=32 << 30, is_cpu=True, selector="opencl:cpu",
)  # fmt: skip


def parsed(recipe: Recipe, genes: Genes) -> CandidateSource:
    source = parse_candidate(candidate(recipe, genes))
    assert isinstance(source, CandidateSource), source
    return source


def draws(recipe: Recipe, count: int) -> list[Genes]:
    """The safe genes, the author's favourites, then chance."""
    favourites = {gene.name: gene.safe for gene in recipe.genes} | dict(recipe.fast)
    own = {name: choice for name, choice in favourites.items() if name in {g.name for g in recipe.genes}}
    drawn = [breeding.safe(recipe), recipe.settle(own)]
    for seed in range(count - len(drawn)):
        rng = random.Random(seed)
        drawn.append(breeding.mutate(recipe, breeding.draw(recipe, rng), rng))
    return drawn


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_every_choice_of_every_gene_parses_and_binds_its_kernels(recipe: Recipe) -> None:
    for seed in range(40):
        rng = random.Random(seed)
        source = parsed(recipe, breeding.mutate(recipe, breeding.draw(recipe, rng), rng))
        assert screen_source(source) is None
        assert isinstance(parse_signatures(source.device_code, source.first_choice()), Signatures)


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_plans_are_accepted_at_both_sizes(recipe: Recipe, size: str) -> None:
    task = describe(load_task(resolve(recipe.task_id), size))
    for genes in draws(recipe, 5):
        source = parsed(recipe, genes)
        signatures = parse_signatures(source.device_code, source.first_choice())
        assert isinstance(signatures, Signatures)
        for workload in task.workloads:
            plan = asyncio.run(plan_candidate(source, source.first_choice(), workload, CPU, "sealed"))
            assert isinstance(plan, LaunchPlan), (plan, genes)
            bound = check_arguments(plan, signatures)
            assert isinstance(bound, BoundPlan), (bound, genes)


@pytest.mark.sycl
@pytest.mark.parametrize(
    "task_id",
    [*(pytest.param(t, marks=pytest.mark.slow) for t in ("kb/L1/47", "kb/L1/94", "kb/L2/12")), "kb/L2/17"],
)
def test_favourite_kernels_compile_and_match_the_reference(task_id: str, tmp_path: Path) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.task_id == task_id)
    evaluate(recipe, draws(recipe, 2)[1:], tmp_path)


@pytest.mark.sycl
@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_drawn_kernels_compile_and_match_the_reference(recipe: Recipe, tmp_path: Path) -> None:
    evaluate(recipe, draws(recipe, 5), tmp_path)


def evaluate(recipe: Recipe, choices: list[Genes], cache: Path) -> None:
    """Every design passes the real evaluator on the CPU device, at the task's small size."""
    from kforge.eval.pipeline import build_candidate
    from kforge.eval.protocol import Protocol
    from kforge.eval.sycl_runtime import ensure_shim, list_devices
    from kforge.eval.verifier import Verifier

    device = next(device for device in list_devices() if device.is_cpu)
    loaded = load_task(resolve(recipe.task_id), "small")
    task = describe(loaded)
    job = {"shim": str(ensure_shim(cache)), "threads": os.cpu_count() or 1, "flush_bytes": 1 << 20,
           "task": recipe.task_id, "size": "small", "user_dir": None}  # fmt: skip
    brief = Protocol(bench_budget_s=0.2, min_samples=3, max_samples=5, floor_samples=3, unstable_width=1e9)
    verifier = Verifier(
        loaded, task, device, job=job, clock=SystemClock(), seeds=secret_seed, protocol=brief
    )  # fmt: skip
    try:
        for genes in choices:
            source = parsed(recipe, genes)
            tune = source.first_choice()
            building = build_candidate(source, tune, task, device=device, track="sealed", cache_dir=cache)
            built = asyncio.run(building)
            assert isinstance(built, Built), (built, genes)
            outcome = verifier.measure(built, source.precision, lambda stage: None)
            assert isinstance(outcome, Passed), (outcome, genes)
    finally:
        verifier.close()
