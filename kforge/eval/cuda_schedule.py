"""On which stream each step of a plan runs and what it waits for. Pure arithmetic, no device.

Without ``after`` everything runs in order on one stream. With it, a step waits for the steps it names and for
nothing else, so independent steps may overlap; the plan's end waits for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where one step runs.

    Attributes:
        stream: number of the stream, 0 is the plan's own.
        waits: earlier steps on other streams that must have ended.
        signals: whether some later step on another stream, or the plan's end, waits for this one.
    """

    stream: int
    waits: tuple[int, ...]
    signals: bool


def schedule(steps: Sequence[Mapping[str, Any]]) -> tuple[Place, ...]:
    """Place every step; steps on one stream run in the plan's order.

    Args:
        steps: of a validated plan, as JSON data: ``after`` names earlier steps only.
    """
    streams: list[int] = []
    waits: list[tuple[int, ...]] = []
    last: list[int] = []  # the latest step of each stream
    for number, step in enumerate(steps):
        after = step.get("after")
        # The latest step of every stream stands for all before it.
        before = sorted(set(after)) if after is not None else sorted(last)
        stream = next((streams[d] for d in before if last[streams[d]] == d), None)
        if stream is None:
            stream = len(last) if len(last) < MAX_STREAMS else number % MAX_STREAMS
        if stream == len(last):
            last.append(number)
        streams.append(stream)
        waits.append(tuple(d for d in before if streams[d] != stream))
        last[stream] = number
    waited = {d for needed in waits for d in needed} | {step for step in last if streams[step] != 0}
    return tuple(Place(s, w, n in waited) for n, (s, w) in enumerate(zip(streams, waits, strict=True)))
