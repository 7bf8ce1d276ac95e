"""What one run is given: configuration and collaborators, all of them arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kforge.clock import Clock
from kforge.errors import UsageError
from kforge.search.budget import NO_LIMITS, Limits
from kforge.search.events import Event
from kforge.search.parse import ParseCandidate
from kforge.search.pool import Pool
from kforge.search.proposer import Proposer
from kforge.search.strategies.registry import SHIPPED, strategy_named
from kforge.types import DeviceInfo, TaskDescription, Track

if TYPE_CHECKING:
    from kforge.data.store import Store

PROPOSALS_PER_EVAL = 4


@dataclass(frozen=True, slots=True)
class Given:
    """A candidate file of the user's own: its name, and what it holds."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """How long and how to search.

    Attributes:
        evals: evaluations to make; exact duplicates within the run do not count. At most
            ``4 * evals`` proposals are asked for.
        seed: seed of every decision.
        harness_version: hash of whatever invalidates old timings; part of the evaluation key.
        limits: what else the run may use.
        strategy: who chooses parents; one of ``kforge.search.strategies``.
        given: texts of the user's own candidate files, evaluated before anybody is asked.
        in_flight: candidates outstanding at a time; None asks the pool.
        deterministic: tell strictly in ordinal order, for tests and replay. Slower: one slow
            candidate holds up the decisions after it.
        proposal_deadline_s: how long one reply may take, the proposer's own retries included, before it is
            asked for again; a proposer that keeps its requests is not hurried.
        max_completion_tokens: upper bound of one reply.
        stop_when_waiting: go in rounds. Whatever is answered is evaluated and told in the order of ordinals,
            then the window is filled from the archive as it is then, and when every open request waits for
            an answer the session ends with state ``waiting``. Else the session waits.
        poll_s: how often to look for answers while waiting.

    Raises:
        UsageError: a limit is not positive, or the strategy is unknown.
    """

    evals: int
    seed: int
    harness_version: str
    track: Track = "sealed"
    strategy: str = SHIPPED
    limits: Limits = NO_LIMITS
    given: tuple[Given, ...] = ()
    in_flight: int | None = None
    deterministic: bool = False
    proposal_deadline_s: float = 3600.0
    max_completion_tokens: int = 16_000
    stop_when_waiting: bool = False
    poll_s: float = 1.0

    def __post_init__(self) -> None:
        counts = (
            ("evals", self.evals),
            ("in-flight", self.in_flight),
            ("max-reply-tokens", self.max_completion_tokens),
        )
        for flag, value in counts:
            if value is not None and not value > 0:
                raise UsageError(
                    f"--{flag} is {value}; it must be greater than 0.", f"give --{flag} 1 or more"
                )
        strategy_named(self.strategy)
        if self.evals < len(self.given):
            raise UsageError(
                f"--evals {self.evals} is fewer than the {len(self.given)} files of --from.",
                f"give --evals {len(self.given)} or more",
            )

    @property
    def asks(self) -> bool:
        """Whether anybody is asked: the user's own files may be all that is evaluated."""
        return self.evals > len(self.given)

    @property
    def max_proposals(self) -> int:
        """Ordinals that may be used, however many of them turn out to be duplicates."""
        return PROPOSALS_PER_EVAL * self.evals


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything that stays the same during one session of a run."""

    config: LoopConfig
    task: TaskDescription
    device: DeviceInfo
    pool: Pool
    proposer: Proposer
    store: Store
    run_id: str
    run_name: str
    clock: Clock
    parse_candidate: ParseCandidate
    on_event: Callable[[Event], None]

    @property
    def window(self) -> int:
        """How many candidates are outstanding at a time."""
        return self.config.in_flight if self.config.in_flight is not None else max(1, self.pool.in_flight)

    @property
    def resume_command(self) -> str:
        """What to type to continue this run."""
        return f"kforge evolve --resume {self.run_name}"
