"""Honest open candidates on the host: every one is accepted, run unchanged through the open track."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kforge.clock import SystemClock, secret_seed
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.open.source import parse_open
from kforge.eval.open.verifier import OpenVerifier
from kforge.open_types import OpenSource
from kforge.types import Passed, Unstable
from tests.honest.registry import Honest, honest
from tests.open.ground import HOST, QUICK

OPEN = [one for one in honest() if one.track == "open"]
# A busy machine may take seconds for what takes milliseconds.
PATIENT = replace(QUICK, run_limit_s=30.0)
QUICK_ONES: tuple[str, ...] = ()


class Verifiers:
    """One verifier per task, opened once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], OpenVerifier] = {}

    def of(self, task: str, size: str) -> OpenVerifier:
        """The verifier of a task."""
        if (task, size) not in self._open:
            loaded = load_task(resolve(task, None), size)
            self._open[task, size] = OpenVerifier(
                loaded, describe(loaded), HOST,
                job={"task": task, "size": size, "user_dir": None},
                clock=SystemClock(), seeds=secret_seed, protocol=PATIENT,
            )  # fmt: skip
        return self._open[task, size]


@pytest.fixture(scope="module")
def verifiers() -> Verifiers:
    return Verifiers()


@pytest.mark.parametrize(
    "one",
    [pytest.param(o, id=o.id, marks=[] if o.id in QUICK_ONES else [pytest.mark.slow]) for o in OPEN],
)
def test_an_honest_answer_is_accepted(verifiers: Verifiers, one: Honest) -> None:
    source = parse_open(one.path.read_text())
    assert isinstance(source, OpenSource), source
    found = verifiers.of(one.task, one.size).measure(source, {}, lambda stage: None)
    # A busy machine can make a right candidate's time unknowable; nothing else excuses one.
    assert isinstance(found.outcome, Passed | Unstable), found
