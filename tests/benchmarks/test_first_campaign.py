"""The winners of the first campaign still build for the card that they were found on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu_evidence import ROOT
from kforge.eval.candidate import parse_candidate
from kforge.eval.cuda_devices import BUILD_TARGETS
from kforge.types import Built, CandidateSource
from kforge.workers.building import build_once

WINNERS = sorted((ROOT / "benchmarks" / "first_campaign").glob("*.py"))


def test_every_task_of_the_campaign_has_a_winner() -> None:
    table = (ROOT / "benchmarks" / "first_campaign.md").read_text()
    tasks = [path.stem.replace("-", "/") for path in WINNERS]
    assert len(tasks) == 6
    assert all(f"### {task} (full)" in table for task in tasks)


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.parametrize("path", WINNERS, ids=lambda path: path.stem)
def test_a_winner_builds(path: Path, cache: Path) -> None:
    source = parse_candidate(path.read_text())
    assert isinstance(source, CandidateSource), source
    report = build_once(
        source, path.stem.replace("-", "/"), "full",
        target=BUILD_TARGETS["sm_90a"], track="sealed", cache_dir=cache, user_dir=None,
    )  # fmt: skip
    assert isinstance(report.result, Built), report.result
