"""Time and identity come in as arguments: these are the real ones and the protocols they satisfy."""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What kforge asks of time."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin that never run backwards."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Wall-clock time, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin that never run backwards."""
        return time.monotonic()


def decision_rng(seed: int, kind: str, ordinal: int) -> random.Random:
    """A generator for one decision, drawn from (seed, kind, ordinal) alone.

    No generator state is carried from decision to decision, so a resumed run decides as the
    undisturbed one would have.
    """
    digest = hashlib.sha256(f"{seed}/{kind}/{ordinal}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def secret_seed() -> int:
    """A fresh 63-bit seed that no candidate can know."""
    return secrets.randbits(63)
