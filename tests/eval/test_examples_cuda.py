"""Every CUDA candidate that a card will run is built here first: plans, signatures, layouts, machine code."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path

import pytest

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.pipeline import build_candidate
from kforge.types import Built, CandidateSource, TaskDescription
from tests.eval.cuda_code import H100
from tests.gpu import test_wrong as wrong
from tests.gpu.opened import Tune, candidate, from_file
from tests.gpu.test_features import CHOICES, EXAMPLES

pytestmark = pytest.mark.cuda


@lru_cache
def described(task: str, size: str) -> TaskDescription:
    return describe(load_task(resolve(task), size))


def built(source: CandidateSource, pool: tuple[str, str], cache: Path, tune: Tune) -> Built:
    choice = {**source.first_choice(), **tune}
    found = asyncio.run(
        build_candidate(source, choice, described(*pool), device=H100, track="sealed", cache_dir=cache)
    )
    assert isinstance(found, Built), found
    return found


@pytest.mark.parametrize(
    ("pool", "name"), [(pool, name) for pool, names in EXAMPLES.items() for name in names]
)
def test_an_example_builds_with_every_choice(pool: tuple[str, str], name: str, cache: Path) -> None:
    source = from_file(name)
    for tune in ({}, CHOICES.get(name, {})):
        facts = built(source, pool, cache, tune).facts
        assert all(k.resources is not None and k.resources.registers > 0 for k in facts.kernels), facts


MATRIX = ("matmul_wmma_tf32", "matmul_wmma_fp16", "matmul_mma_bf16")


@pytest.mark.parametrize("name", MATRIX)
def test_matrix_instructions_are_what_they_say(name: str, cache: Path) -> None:
    facts = built(from_file(name), ("kb/L1/1", "small"), cache, {}).facts
    assert sum(kernel.matrix_ops for kernel in facts.kernels) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", wrong.WRONG)
def test_what_a_card_must_reject_is_not_rejected_before(name: str, cache: Path) -> None:
    built(candidate(wrong.text(wrong.WRONG[name][0])), wrong.POOL, cache, {})
