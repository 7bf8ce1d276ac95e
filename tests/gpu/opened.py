"""One open pool for many candidates of a task: opening the measuring process takes seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from kforge.eval.candidate import parse_candidate
from kforge.search.pool import BuildReport, EvaluationRequest
from kforge.types import Built, CandidateSource, DeviceInfo, Outcome, Scalar
from kforge.workers.local import LocalPool

CANDIDATES = Path(__file__).parent / "candidates"
Tune = Mapping[str, Scalar]


def candidate(text: str) -> CandidateSource:
    """A candidate from its text."""
    parsed = parse_candidate(text)
    assert isinstance(parsed, CandidateSource), parsed
    return parsed


def from_file(name: str) -> CandidateSource:
    """A candidate of ``candidates/``."""
    return candidate((CANDIDATES / f"{name}.py").read_text())


class Opened:
    """A ``LocalPool`` and the event loop that it lives in."""

    def __init__(self, task: str, size: str, device: DeviceInfo, cache: Path) -> None:
        self._runner = asyncio.Runner()
        self.pool = self._runner.run(LocalPool.open(task, size, device, cache, None))

    def build(self, source: CandidateSource, tune: Tune | None = None) -> BuildReport:
        """Plan, screen and compile; no device is used."""
        return self._runner.run(self.pool.build(self._request(source, tune)))

    def outcome(self, source: CandidateSource, tune: Tune | None = None) -> Outcome:
        """Build, check and time.

        Args:
            source: the candidate.
            tune: choices that differ from the first ones.
        """
        built = self.build(source, tune).result
        if not isinstance(built, Built):
            return built
        return self._runner.run(self.pool.measure(self._request(source, tune), built)).outcome

    def close(self) -> None:
        """End the measuring process."""
        self._runner.run(self.pool.close())
        self._runner.close()

    @staticmethod
    def _request(source: CandidateSource, tune: Tune | None) -> EvaluationRequest:
        return EvaluationRequest("gpu", source, {**source.first_choice(), **(tune or {})}, "sealed")


class Pools:
    """At most one pool at a time: full-size tasks leave no room for two on a card."""

    def __init__(self, device: DeviceInfo, cache: Path) -> None:
        self._device, self._cache = device, cache
        self._key: tuple[str, str] | None = None
        self._opened: Opened | None = None

    def get(self, task: str, size: str) -> Opened:
        """The pool of this task and size, open."""
        if self._opened is None or self._key != (task, size):
            self.close()
            self._opened, self._key = Opened(task, size, self._device, self._cache), (task, size)
        return self._opened

    def close(self) -> None:
        """End what is open."""
        opened, self._opened, self._key = self._opened, None, None
        if opened is not None:
            opened.close()
