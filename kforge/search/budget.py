"""What a run may use, and what it has used: realised, plus set aside for what is under way.

A request is made only if the limits allow what it may cost at most. What was asked for is never cut off:
at a limit the run stops asking, and evaluates everything that is paid for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from kforge.clock import Clock
from kforge.errors import UsageError
from kforge.search.events import BudgetWarning, CandidateEvaluated, Event, Limit, ReplyReceived
from kforge.search.proposer import Quote
from kforge.search.summary import Spend

WARNING_SHARES = (0.5, 0.8)
_WORDS: dict[Limit, str] = {
    "minutes": "minutes", "device_seconds": "device-seconds", "tokens": "tokens", "usd": "dollars",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit.

    Attributes:
        minutes: wall clock of this session; a resumed run gets it anew.
        device_seconds: checks and benchmarks of the whole run.
        tokens: prompts and replies of the whole run.
        usd: dollars of the whole run.

    Raises:
        UsageError: a limit is not positive.
    """

    minutes: float | None = None
    device_seconds: float | None = None
    tokens: int | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not 0 < value < math.inf:
                flag = each.name.replace("_", "-")
                raise UsageError(
                    f"--{flag} is {value}; it must be greater than 0 and finite.",
                    f"give --{flag} a positive number",
                )


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one limit is gone: ``realised``, and ``committed`` to what is under way."""

    limit: Limit
    allowed: float
    realised: float
    committed: float

    @property
    def share(self) -> float:
        """Of the limit, both together."""
        return (self.realised + self.committed) / self.allowed

    def __str__(self) -> str:
        unit = "$" if self.limit == "usd" else ""
        shape = ".2f" if self.limit == "usd" else ",.0f" if self.limit == "tokens" else ".1f"
        aside = f" and {unit}{self.committed:{shape}} set aside" if self.committed else ""
        allowed = f"{unit}{self.allowed:,g}"
        return f"{unit}{self.realised:{shape}}{aside} of {allowed} {_WORDS[self.limit]} are used"


class Ledger:
    """The one place that knows what a run has used and what is set aside.

    Args:
        limits: what may be used.
        spend: what earlier sessions used; counted on here.
        clock: for the minutes, which begin now.
    """

    def __init__(self, limits: Limits, spend: Spend, clock: Clock) -> None:
        self.spend = spend
        self._limits, self._clock = limits, clock
        self._began_s = clock.monotonic()
        self._asked: dict[int, Quote] = {}  # ordinals whose reply has not come
        self._unmeasured: set[int] = set()
        self._said: set[tuple[Limit, float]] = set()

    def commit(self, ordinal: int, quote: Quote) -> None:
        """Set aside what a request may cost, and device time for its candidate."""
        self._asked[ordinal] = quote
        self._unmeasured.add(ordinal)

    def note(self, event: Event) -> None:
        """Count an event; what it realises is set aside no longer."""
        self.spend.note(event)
        if isinstance(event, ReplyReceived):
            self._asked.pop(event.ordinal, None)
        elif isinstance(event, CandidateEvaluated):
            self._asked.pop(event.ordinal, None)
            self._unmeasured.discard(event.ordinal)

    def uses(self) -> Iterator[Use]:
        """Every limit that there is, with what is gone of it."""
        limits, spend = self._limits, self.spend
        asked = self._asked.values()
        if limits.minutes is not None:
            yield Use("minutes", limits.minutes, (self._clock.monotonic() - self._began_s) / 60, 0.0)
        if limits.device_seconds is not None:
            aside = len(self._unmeasured) * spend.device_seconds_each
            yield Use("device_seconds", limits.device_seconds, spend.device_seconds, aside)
        if limits.tokens is not None:
            yield Use("tokens", limits.tokens, spend.tokens, sum(quote.tokens for quote in asked))
        if limits.usd is not None:
            yield Use("usd", limits.usd, spend.usd, sum(quote.usd for quote in asked))

    def spent(self) -> Use | None:
        """The limit of which nothing is left, whatever is set aside; None when there is none."""
        return next((use for use in self.uses() if use.realised >= use.allowed), None)

    def exhausted(self, quote: Quote) -> Use | None:
        """The limit that forbids a request of this cost; None when it may be made."""
        for use in self.uses():
            more = _more(use.limit, quote, self.spend)
            if use.share >= 1.0 or use.realised + use.committed + more > use.allowed:
                return use
        return None

    def require_affordable(self, quote: Quote) -> None:
        """Refuse limits under which not even one request could be made.

        Raises:
            UsageError: with what one request may cost.
        """
        for limit, allowed, cost in (
            ("tokens", self._limits.tokens, quote.tokens), ("usd", self._limits.usd, quote.usd)
        ):  # fmt: skip
            if allowed is not None and cost > allowed:
                raise UsageError(
                    f"--{limit} {allowed:g} is less than one request may cost ({cost:,.4g}).",
                    f"raise --{limit}, or lower --max-reply-tokens",
                )

    def warnings(self) -> Iterator[BudgetWarning]:
        """What has crossed half or four fifths of a limit and was not said yet."""
        for use in self.uses():
            crossed = [share for share in WARNING_SHARES if use.share >= share]
            if crossed and (use.limit, crossed[-1]) not in self._said:
                self._said.update((use.limit, share) for share in crossed)
                yield BudgetWarning(use.limit, str(use), crossed[-1])

    def end_of(self, use: Use, quote: Quote) -> Iterator[BudgetWarning]:
        """That a limit ends the asking, said once."""
        if (use.limit, 1.0) not in self._said:
            self._said.update((use.limit, share) for share in (*WARNING_SHARES, 1.0))
            more = _more(use.limit, quote, self.spend)
            costs = f"${more:.2f}" if use.limit == "usd" else f"{more:,.0f} {_WORDS[use.limit]}"
            next_one = f", and the next request may take up to {costs}" if more else ""
            yield BudgetWarning(use.limit, f"{use}{next_one}: nothing more is asked for")


def _more(limit: Limit, quote: Quote, spend: Spend) -> float:
    """What one more request may add to the use of a limit."""
    match limit:
        case "usd":
            return quote.usd
        case "tokens":
            return quote.tokens
        case "device_seconds":
            return spend.device_seconds_each
        case "minutes":
            return 0.0
