"""What went wrong with a request: trouble that passes, or an error with its fix."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kforge.errors import InfraError, KforgeError, MissingPrerequisite, NoMoreReplies, UsageError
from kforge.search.models.servers import Server

_PASSING = frozenset({408, 409, 429})
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


class PassingError(Exception):
    """Trouble that another attempt may not meet.

    Args:
        reason: what happened, without the key.
        wait_s: how long the server asks to wait; None when it does not say.
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error as a server gave it.

    Attributes:
        headers: names in lower case.
        codes: the server's own words for the error.
    """

    status: int
    headers: Mapping[str, str]
    codes: frozenset[str]
    text: str


def fault(
    refusal: Refusal, server: Server, now: datetime, longest_wait_s: float
) -> PassingError | KforgeError:
    """What to make of a refused request."""
    reason = server.shown(refusal.text).rstrip(".") or "no reason given"
    said = f"{server.url} answered {refusal.status}: {reason}"
    if refusal.codes & _SPENT or refusal.status == 402:
        return NoMoreReplies(
            f"The account behind {server.key_variable} has no credit left: {said}.",
            f"add credit or take another key: export {server.key_variable}=..., then resume the run",
        )
    if refusal.status in _PASSING or refusal.status >= 500:
        return _passing(refusal, server, said, now, longest_wait_s)
    return _lasting(refusal.status, server, said)


def _passing(
    refusal: Refusal, server: Server, said: str, now: datetime, longest_wait_s: float
) -> PassingError | InfraError:
    if refusal.headers.get("x-should-retry") == "false":
        return NoMoreReplies(f"{said}; it says that trying again is no use.", f"curl {server.url}/models")
    wait_s = retry_after_s(refusal.headers, now)
    if wait_s is not None and wait_s > longest_wait_s:
        return NoMoreReplies(
            f"{said}; it asks to wait {wait_s:.0f} s, kforge waits {longest_wait_s:g} s at most.",
            f"resume the run in {math.ceil(wait_s / 60)} minutes",
        )
    return PassingError(said, wait_s)


def _lasting(status: int, server: Server, said: str) -> KforgeError:
    if status in (401, 403):
        return MissingPrerequisite(
            f"The key for {server.name} is not accepted: {said}.",
            f"export {server.key_variable}=... with a key that may use {server.model}",
        )
    if status == 404:
        return UsageError(
            f"{server.name} is not there: {said}.",
            f"curl {server.url}/models lists the models; a base URL usually ends in /v1",
        )
    return UsageError(f"{server.name} does not take the request: {said}.", "correct what the server names")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a server asks to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if value is None or seconds is not None:
        return seconds
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def cause(error: BaseException) -> str:
    """The innermost cause of a failed connection in plain words, such as ``Connection refused``."""
    innermost = error
    while (deeper := _deeper(innermost)) is not None:
        innermost = deeper
    if isinstance(innermost, OSError) and innermost.strerror:
        # asyncio puts the address there; names that do not resolve have numbers of their own, below 0.
        number = innermost.errno or 0
        return os.strerror(number) if number > 0 else innermost.strerror
    return str(innermost) or type(innermost).__name__


def _deeper(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):  # one for each address of a name
        return error.exceptions[0]
    return error.__cause__ or error.__context__
