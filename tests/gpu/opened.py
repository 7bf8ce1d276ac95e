"""One open pool for many candidates of a task: opening the measuring process takes seconds."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kforge.eval.candidate import parse_candidate
from kforge.evolve.pool import BuildReport, EvaluationRequest
from kforge.types import Built, CandidateSource, DeviceInfo, Outcome
from kforge.workers.local import LocalPool

CANDIDATES = Path(__file__).parent / "candidates"


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

    def build(self, source: CandidateSource) -> BuildReport:
        """Plan, screen and compile; no device is used."""
        return self._runner.run(self.pool.build(self._request(source)))

    def outcome(self, source: CandidateSource) -> Outcome:
        """Build, check and time."""
        built = self.build(source).result
        if not isinstance(built, Built):
            return built
        return self._runner.run(self.pool.measure(self._request(source), built)).outcome

    def close(self) -> None:
        """End the measuring process."""
        self._runner.run(self.pool.close())
        self._runner.close()

    @staticmethod
    def _request(source: CandidateSource) -> EvaluationRequest:
        return EvaluationRequest("gpu", source, source.first_choice(), "sealed")
