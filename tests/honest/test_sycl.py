"""Honest SYCL candidates on the CPU device: every one is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from kforge.types import DeviceInfo, Passed, Unstable
from tests.gpu.opened import Opened, candidate
from tests.honest.registry import Honest, honest

pytestmark = pytest.mark.sycl


def pools(*, quick: bool) -> dict[tuple[str, str], list[Honest]]:
    found: dict[tuple[str, str], list[Honest]] = {}
    for one in honest():
        if one.language == "sycl" and one.quick == quick:
            found.setdefault((one.task, one.size), []).append(one)
    return found


def accepted(pool: tuple[str, str], candidates: list[Honest], device: DeviceInfo, cache: Path) -> None:
    opened = Opened(*pool, device, cache)
    try:
        outcomes = {one.id: opened.outcome(candidate(one.path.read_text())) for one in candidates}
    finally:
        opened.close()
    # A busy machine can make a right candidate's time unknowable; nothing else excuses one.
    assert {k: o for k, o in outcomes.items() if not isinstance(o, Passed | Unstable)} == {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, Passed):
            numerics = [w.numerics for w in outcome.workloads]
            assert all(n is not None for n in numerics), name


def _named(found: dict[tuple[str, str], list[Honest]]) -> list[object]:
    return [pytest.param(p, c, id=Path(p[0]).stem + "-" + str(len(c))) for p, c in found.items()]


@pytest.mark.parametrize(("pool", "candidates"), _named(pools(quick=True)))
def test_honest_candidates_are_accepted(
    pool: tuple[str, str], candidates: list[Honest], device: DeviceInfo, cache: Path
) -> None:
    accepted(pool, candidates, device, cache)


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "candidates"), _named(pools(quick=False)))
def test_more_honest_candidates_are_accepted(
    pool: tuple[str, str], candidates: list[Honest], device: DeviceInfo, cache: Path
) -> None:
    accepted(pool, candidates, device, cache)
