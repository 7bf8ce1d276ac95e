"""What the loop asks of whoever builds and measures candidates. ``workers`` satisfies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kforge.types import (
    Built,
    CandidateSource,
    Ceilings,
    InfraFailed,
    Outcome,
    Rejected,
    Scalar,
    StageSeconds,
    Track,
)


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """One candidate variant to build and measure.

    Attributes:
        candidate_id: the store's id, for logs only.
        source: the parsed candidate.
        tune: one value per name of the candidate's ``TUNE``.
    """

    candidate_id: str
    source: CandidateSource
    tune: Mapping[str, Scalar]
    track: Track


@dataclass(frozen=True, slots=True)
class BuildReport:
    """End of the build stage (parse of the plan and screen included)."""

    result: Built | Rejected | InfraFailed
    seconds: float


@dataclass(frozen=True, slots=True)
class MeasureReport:
    """End of check and bench."""

    outcome: Outcome
    seconds: StageSeconds


class Pool(Protocol):
    """Builds and measures candidates; a hung or killed evaluation always frees its place.

    Both methods end with a value for anything the candidate does. They raise ``InfraError`` only when
    the pool itself can no longer work.
    """

    @property
    def ceilings(self) -> Ceilings | None:
        """What the device was measured to do at best; None where nobody measured it."""
        ...

    @property
    def in_flight(self) -> int:
        """How many candidates keep every build slot and device of this pool busy."""
        ...

    async def build(self, request: EvaluationRequest) -> BuildReport:
        """Plan, screen and compile on a build slot."""
        ...

    async def measure(self, request: EvaluationRequest, built: Built) -> MeasureReport:
        """Check and bench on a device, alone on it."""
        ...

    def idle_while_queued_s(self) -> float:
        """Seconds during which a device stood idle although a built candidate waited for it."""
        ...

    async def close(self) -> None:
        """Kill every child and free everything; safe to call twice."""
        ...
