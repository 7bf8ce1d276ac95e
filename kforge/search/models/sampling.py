"""How models are asked, and how much trouble is put up with before a request is given up."""

from __future__ import annotations

from dataclasses import dataclass, field

from kforge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits of one request and of its repetitions, in seconds.

    Attributes:
        attempts: requests made for one reply before it is given up.
        first_wait_s: wait before the second attempt; it doubles from there.
        longest_backoff_s: where the doubling ends.
        longest_wait_s: the longest ``Retry-After`` that is waited for; a longer one ends the request.
        connect_s: time to connect.
        silence_s: longest gap between two pieces of a reply. Models that hide their thoughts send nothing
            while they think.
        deadline_s: time for one attempt as a whole; the HTTP client knows only gaps.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_backoff_s: float = 30.0
    longest_wait_s: float = 120.0
    connect_s: float = 10.0
    silence_s: float = 300.0
    deadline_s: float = 540.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How every model of a run is asked.

    Attributes:
        temperature: None leaves it to the server; models that refuse one are asked without.
        seeded: send the request's seed. Off unless asked for: some servers fail on it.
        concurrency: requests under way at a time, for each server.

    Raises:
        UsageError: a value that no server takes.
    """

    temperature: float | None = None
    seeded: bool = False
    concurrency: int = 8
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise UsageError(
                f"The temperature is {self.temperature}; servers take 0 to 2.", "choose one from 0 to 2"
            )
        if self.concurrency < 1:
            raise UsageError(
                f"{self.concurrency} requests at a time ask nobody.", "allow at least 1 request at a time"
            )
