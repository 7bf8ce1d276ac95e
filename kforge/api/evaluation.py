"""One candidate through the full protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kforge.api.choices import checked_eval_track
from kforge.api.files import read_candidate, writable
from kforge.api.search import no_running_loop
from kforge.config import places
from kforge.errors import MissingPrerequisite, NoDevice, UsageError
from kforge.types import (
    Built,
    CandidateSource,
    DeviceInfo,
    Outcome,
    ParseFailed,
    Passed,
    Quality,
    StageSeconds,
    Track,
)

if TYPE_CHECKING:
    from kforge.eval.open.extensions import BuiltExtension
    from kforge.eval.sanitize import WorkloadFinding
    from kforge.open_types import HostCpu, OpenSource


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a candidate ended.

    Attributes:
        outcome: ``Passed``, or why it was rejected.
        source: the parsed candidate; None where it could not be read.
        built: its build; None where it did not get so far, and on the open track.
        device: that it ran on; None where it did not get so far.
        seconds: wall time by stage.
        sandbox: layer to whether it was in force; None on a sealed track that was not asked for it.
        extensions: on the open track, what was built for it.
        sanitizer: what compute-sanitizer said; None where it was not asked, or the candidate did not pass.
    """

    outcome: Outcome
    source: CandidateSource | OpenSource | None
    built: Built | None
    device: DeviceInfo | HostCpu | None
    seconds: StageSeconds = field(default_factory=StageSeconds)
    sandbox: Mapping[str, bool] | None = None
    extensions: tuple[BuiltExtension, ...] = ()
    sanitizer: tuple[WorkloadFinding, ...] | None = None

    @property
    def passed(self) -> Passed | None:
        """The outcome with its times; None for a rejected candidate."""
        return self.outcome if isinstance(self.outcome, Passed) else None


def evaluate(
    candidate: Path | str,
    *,
    task: str,
    size: str = "full",
    device: str = "auto",
    track: str = "sealed",
    require_sandbox: bool = False,
    sanitize: bool = False,
    record: bool = False,
) -> Evaluation:
    """Build, check and time one candidate. What ``kforge eval`` does, without a terminal.

    Args:
        candidate: path of a candidate file as ``Path``, or a candidate's text as ``str``.
        task: an id such as ``kb/L1/19``, or a file such as ``./mine.py``.
        size: ``full``, ``small``, or another size of the task.
        device: ``auto``, ``cpu``, ``gpu``, or a selector that ``kforge doctor`` lists.
        track: ``sealed``, ``pure``, or ``open`` for a published ``ModelNew``.
        require_sandbox: refuse to run it where a layer of the sandbox is missing.
        sanitize: run a sealed CUDA candidate that passed under compute-sanitizer too.
        record: sample until the speedup is known to 0.3 %, in place of 1 %.

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
    return evaluate_text(
        text, task=task, size=size, device=device, track=track,
        require_sandbox=require_sandbox, sanitize=sanitize, record=record,
    )  # fmt: skip


def evaluate_text(
    text: str,
    *,
    task: str,
    size: str,
    device: str,
    track: str,
    require_sandbox: bool = False,
    sanitize: bool = False,
    record: bool = False,
) -> Evaluation:
    """The same for a text. See ``evaluate``."""
    from kforge.data.tasks.registry import resolve

    allowed = checked_eval_track(track)
    quality: Quality = "record" if record else "screen"
    resolve(task, places().user_tasks)
    if allowed == "open":
        if sanitize:
            raise UsageError(
                "--sanitize looks at sealed CUDA candidates, whose launches kforge makes itself; this is "
                "--track open.",
                "leave --sanitize out",
            )
        return _evaluate_open(text, task, size, device, require_sandbox=require_sandbox, quality=quality)
    return _evaluate_sealed(
        text, task, size, device,
        track=allowed, require_sandbox=require_sandbox, sanitize=sanitize, quality=quality,
    )  # fmt: skip


def _evaluate_sealed(
    text: str,
    task: str,
    size: str,
    device: str,
    *,
    track: Track,
    require_sandbox: bool,
    sanitize: bool,
    quality: Quality,
) -> Evaluation:
    from kforge.eval.candidate import parse_candidate
    from kforge.eval.cuda_devices import BUILD_TARGETS
    from kforge.eval.open.source import is_open
    from kforge.workers.hardware import choose_device
    from kforge.workers.local import evaluate_once

    source = parse_candidate(text)
    if isinstance(source, ParseFailed):
        if is_open(text):
            source = ParseFailed(
                f"the file defines ModelNew: that is a candidate of the open track, not of the {track} one. "
                f"Evaluate it with: kforge eval FILE --task {task} --track open"
            )
        return Evaluation(source, None, None, None)
    layers = _required_layers() if require_sandbox else None
    here = places()
    cache_dir = writable(here.cache)
    if sanitize and source.language != "cuda":
        raise UsageError(
            f"--sanitize runs NVIDIA's compute-sanitizer; this candidate is written in {source.language}.",
            "leave --sanitize out",
        )
    if source.language == "cuda" and device in BUILD_TARGETS:
        raise NoDevice(f"{device} is an architecture to build for, not a device.", "use --device auto")
    chosen = choose_device(source.language, device)
    if sanitize:
        _require_sanitizer()
    result = asyncio.run(
        evaluate_once(
            source, task, size,
            device=chosen, track=track, cache_dir=cache_dir, user_dir=here.user_tasks, sanitize=sanitize,
            quality=quality,
        )
    )  # fmt: skip
    return Evaluation(
        result.outcome, source, result.built, chosen, result.seconds,
        sandbox=layers, sanitizer=result.sanitizer,
    )  # fmt: skip


def _evaluate_open(
    text: str, task: str, size: str, device: str, *, require_sandbox: bool, quality: Quality
) -> Evaluation:
    from kforge.eval.candidate import parse_candidate
    from kforge.eval.open.source import parse_open
    from kforge.workers.hardware import choose_open_device
    from kforge.workers.open_track import evaluate_open_once

    source = parse_open(text)
    if isinstance(source, ParseFailed):
        if isinstance(parse_candidate(text), CandidateSource):
            source = ParseFailed(
                "the file is a sealed candidate (LANGUAGE, SOURCE, plan), not one of the open track, which "
                f"defines ModelNew. Evaluate it with: kforge eval FILE --task {task} --track sealed"
            )
        return Evaluation(source, None, None, None)
    here = places()
    cache_dir = writable(here.cache)
    chosen = choose_open_device(device)
    result = asyncio.run(
        evaluate_open_once(
            source, task, size,
            device=chosen, cache_dir=cache_dir, user_dir=here.user_tasks, require_sandbox=require_sandbox,
            quality=quality,
        )
    )  # fmt: skip
    return Evaluation(
        result.outcome, source, None, chosen, result.seconds,
        sandbox=result.layers, extensions=result.extensions,
    )  # fmt: skip


def _required_layers() -> Mapping[str, bool]:
    """The layers of a sealed candidate's sandbox, each tried on this machine.

    Raises:
        MissingPrerequisite: one is missing.
    """
    from kforge.eval.sandbox import layers

    found = layers()
    missing = [name for name, works in found.items() if not works]
    if missing:
        raise MissingPrerequisite(
            f"--require-sandbox: this machine lacks {', '.join(missing)}; the candidate was not run.",
            "run `kforge doctor`, or leave --require-sandbox out",
        )
    return found


def _require_sanitizer() -> None:
    """Know before minutes are spent that compute-sanitizer is there."""
    from kforge.eval.sanitize import sanitizer

    sanitizer()
