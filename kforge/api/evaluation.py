"""One candidate through the full protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from kforge.api.choices import checked_track
from kforge.api.files import read_candidate, writable
from kforge.api.search import no_running_loop
from kforge.config import places
from kforge.errors import UsageError
from kforge.types import (
    Built,
    CandidateSource,
    DeviceInfo,
    Outcome,
    ParseFailed,
    Passed,
    StageSeconds,
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a candidate ended.

    Attributes:
        outcome: ``Passed``, or why it was rejected.
        source: the parsed candidate; None where it could not be read.
        built: its build; None where it did not get so far.
        device: that it ran on; None where it did not get so far.
        seconds: wall time by stage.
    """

    outcome: Outcome
    source: CandidateSource | None
    built: Built | None
    device: DeviceInfo | None
    seconds: StageSeconds = field(default_factory=StageSeconds)

    @property
    def passed(self) -> Passed | None:
        """The outcome with its times; None for a rejected candidate."""
        return self.outcome if isinstance(self.outcome, Passed) else None


def evaluate(
    candidate: Path | str, *, task: str, size: str = "full", device: str = "auto", track: str = "sealed"
) -> Evaluation:
    """Build, check and time one candidate. What ``kforge eval`` does, without a terminal.

    Args:
        candidate: path of a candidate file as ``Path``, or a candidate's text as ``str``.
        task: an id such as ``kb/L1/19``, or a file such as ``./mine.py``.
        size: ``full``, ``small``, or another size of the task.
        device: ``auto``, ``cpu``, ``gpu``, or a selector that ``kforge doctor`` lists.
        track: ``sealed`` or ``pure``.

    Returns:
        How it ended. A rejected candidate is a value, not an exception.

    Raises:
        UsageError: an argument is wrong, or an event loop runs in this thread.
        NoDevice: there is no device of that kind.
        KforgeError: a prerequisite is missing, or the infrastructure failed.
    """
    no_running_loop("kforge.evaluate")
    if isinstance(candidate, str) and "\n" not in candidate.strip():
        raise UsageError(f"{candidate!r} is one line, no candidate.", "give a file as pathlib.Path(...)")
    text = read_candidate(candidate) if isinstance(candidate, Path) else candidate
    return evaluate_text(text, task=task, size=size, device=device, track=track)


def evaluate_text(text: str, *, task: str, size: str, device: str, track: str) -> Evaluation:
    """The same for a text. See ``evaluate``."""
    from kforge.data.tasks.registry import resolve
    from kforge.errors import NoDevice
    from kforge.eval.candidate import parse_candidate
    from kforge.eval.cuda_devices import BUILD_TARGETS
    from kforge.workers.hardware import choose_device
    from kforge.workers.local import evaluate_once

    allowed, here = checked_track(track), places()
    resolve(task, here.user_tasks)
    source = parse_candidate(text)
    if isinstance(source, ParseFailed):
        return Evaluation(source, None, None, None)
    cache_dir = writable(here.cache)
    if source.language == "cuda" and device in BUILD_TARGETS:
        raise NoDevice(f"{device} is an architecture to build for, not a device.", "use --device auto")
    chosen = choose_device(source.language, device)
    result = asyncio.run(
        evaluate_once(
            source, task, size,
            device=chosen, track=allowed, cache_dir=cache_dir, user_dir=here.user_tasks,
        )
    )  # fmt: skip
    return Evaluation(result.outcome, source, result.built, chosen, result.seconds)
