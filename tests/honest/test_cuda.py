"""Honest CUDA candidates: each is built here for the H100; ``tests/gpu`` has a card check and time them."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.pipeline import build_candidate
from kforge.types import Built, DeviceInfo, Passed, TaskDescription
from kforge.workers.hardware import choose_device
from tests.eval.cuda_code import H100
from tests.gpu.opened import Opened, candidate
from tests.honest.registry import CUDA, HERE, Honest, honest

OWN = [one for one in honest() if one.language == "cuda" and one.path.parent == HERE / "cuda"]


@lru_cache
def described(task: str, size: str) -> TaskDescription:
    return describe(load_task(resolve(task), size))


@pytest.mark.cuda
@pytest.mark.parametrize("one", OWN, ids=[one.id for one in OWN])
def test_an_honest_candidate_builds(one: Honest, cache: Path) -> None:
    source = candidate(one.path.read_text())
    found = asyncio.run(
        build_candidate(
            source, source.first_choice(), described(one.task, one.size),
            device=H100, track="sealed", cache_dir=cache,
        )
    )  # fmt: skip
    assert isinstance(found, Built), found


@pytest.fixture(scope="module")
def card() -> DeviceInfo:
    return choose_device("cuda", "auto")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("pool", CUDA, ids=[task for task, _ in CUDA])
def test_honest_candidates_are_accepted_on_the_card(
    pool: tuple[str, str], card: DeviceInfo, cache: Path
) -> None:
    opened = Opened(*pool, card, cache)
    try:
        outcomes = {
            one.id: opened.outcome(candidate(one.path.read_text()))
            for one in OWN
            if (one.task, one.size) == pool
        }
    finally:
        opened.close()
    assert {name: found for name, found in outcomes.items() if not isinstance(found, Passed)} == {}
