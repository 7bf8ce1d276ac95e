"""``kforge eval``: one candidate through the full protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kforge.cli.options import (
    DeviceOption,
    JsonOption,
    SizeOption,
    TaskOption,
    TrackOption,
    checked_track,
    writable,
)
from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.errors import NoDevice
    from kforge.types import CandidateSource, DeviceInfo, Outcome, ParseFailed, Track
    from kforge.workers.local import Evaluated

MAX_READ_BYTES = 2 << 20


def evaluate(  # noqa: PLR0917 - typer reads the options from the signature
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sealed candidate (docs/candidate.md).")],
    task: TaskOption,
    device: DeviceOption = "auto",
    size: SizeOption = "full",
    track: TrackOption = "sealed",
    as_json: JsonOption = False,
) -> None:
    """Build, check and time one candidate. Exit code 0: it passed, 1: it was rejected."""
    import asyncio

    from kforge.config import places
    from kforge.data.tasks.registry import resolve
    from kforge.errors import NoDevice
    from kforge.eval.candidate import parse_candidate
    from kforge.eval.cuda_devices import BUILD_TARGETS
    from kforge.render import print_evaluation
    from kforge.types import ParseFailed, Passed
    from kforge.workers.hardware import choose_device
    from kforge.workers.local import Evaluated, evaluate_once

    allowed = checked_track(track)
    text = read_candidate(file)
    here = places()
    resolve(task, here.user_tasks)
    source = parse_candidate(text)
    chosen: DeviceInfo | None = None
    if isinstance(source, ParseFailed):
        result = Evaluated(source, None)
    else:
        cache_dir = writable(here.cache)
        try:
            if source.language == "cuda" and device in BUILD_TARGETS:
                raise NoDevice(
                    f"{device} is an architecture to build for, not a device.", "use --device auto"
                )
            chosen = choose_device(source.language, device)
        except NoDevice as error:
            if source.language != "cuda":
                raise
            result = build_only(
                error, source, task, size,
                target=device, track=allowed, cache_dir=cache_dir, user_dir=here.user_tasks, as_json=as_json,
            )  # fmt: skip
        else:
            work = evaluate_once(
                source, task, size,
                device=chosen, track=allowed, cache_dir=cache_dir, user_dir=here.user_tasks,
            )  # fmt: skip
            result = asyncio.run(work)
    if as_json:
        print_json(document(result, source, task=task, size=size, track=track, device=chosen, text=text))
    else:
        print_evaluation(result.outcome, result.built, chosen)
    raise typer.Exit(0 if isinstance(result.outcome, Passed) else 1)


def build_only(
    missing: NoDevice, source: CandidateSource, task: str, size: str,
    *, target: str, track: Track, cache_dir: Path, user_dir: Path | None, as_json: bool,
) -> Evaluated:  # fmt: skip
    """What can be said of a CUDA candidate without a card: how its build was rejected.

    Raises:
        NoDevice: it was built; the facts go with the error.
    """
    from kforge.codec import to_dict
    from kforge.errors import InfraError, NoDevice
    from kforge.eval.cuda_devices import BUILD_TARGETS, DEFAULT_TARGET
    from kforge.render import print_built
    from kforge.types import Built, InfraFailed, StageSeconds
    from kforge.workers.building import build_once
    from kforge.workers.local import Evaluated

    card = BUILD_TARGETS[target if target in BUILD_TARGETS else DEFAULT_TARGET]
    report = build_once(source, task, size, target=card, track=track, cache_dir=cache_dir, user_dir=user_dir)
    match report.result:
        case Built() as built:
            if not as_json:
                print_built(built, card)
            raise NoDevice(
                f"{missing.message.removesuffix('.')}. The candidate was built for {card.arch} and not run.",
                missing.next_step,
                {
                    "status": None,
                    "target": card.arch,
                    "candidate": source.hash,
                    "measures": to_dict(built.measures),
                    "facts": to_dict(built.facts),
                    "uses_library_ops": list(built.library_ops),
                    "seconds": {"build": round(report.seconds, 3)},
                },
            )
        case InfraFailed(reason=reason):
            raise InfraError(f"The candidate could not be built: {reason}", "run `kforge doctor`")
        case rejected:
            seconds = StageSeconds(build=report.seconds, total=report.seconds)
            return Evaluated(rejected, None, seconds)


def read_candidate(file: Path) -> str:
    """Read a candidate file, hostile or not; the parser judges what was read.

    Raises:
        UsageError: it cannot be read.
    """
    from kforge.errors import UsageError

    try:
        if file.is_fifo() or file.is_socket():
            raise UsageError(f"{file} is a pipe, not a file.", "give the path of a candidate file")
        with file.open("rb") as opened:
            # Past the parser's limit there is nothing to learn from the rest of a large file.
            return opened.read(MAX_READ_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}.", "give the path of a candidate file"
        ) from error


def document(
    result: Evaluated, parsed: CandidateSource | ParseFailed, *, task: str, size: str, track: str,
    device: DeviceInfo | None, text: str,
) -> dict[str, Any]:  # fmt: skip
    """The JSON of ``kforge eval``: every key of the contract, null where a value was not earned."""
    import hashlib

    from kforge.codec import to_dict
    from kforge.types import CandidateSource, CheckFailed, Passed

    source = parsed if isinstance(parsed, CandidateSource) else None
    outcome: Outcome = result.outcome
    passed = outcome if isinstance(outcome, Passed) else None
    failed = outcome if isinstance(outcome, CheckFailed) else None
    built = result.built
    max_error = passed.max_error if passed else failed.max_error if failed else None
    kb_correct = passed.kb_correct if passed else failed.kb_correct if failed else None
    precision = source.precision if source else None
    return {
        "status": outcome.status,
        "task": task,
        "size": size,
        "language": source.language if source else None,
        "track": track,
        "device": device.name if device else None,
        "candidate": source.hash if source else hashlib.sha256(text.encode()).hexdigest(),
        "precision": precision,
        "speedup": passed.speedup if passed else None,
        "speedup_interval": [passed.speedup_low, passed.speedup_high] if passed else None,
        "latency_us": passed.latency_us if passed else None,
        "baseline_us": passed.baseline_us if passed else None,
        "baseline": {"name": "eager", "precision": precision},
        "noise": passed.noise if passed else None,
        "verdict": passed.verdict if passed else None,
        "kb_correct": kb_correct,
        "max_error": max_error,
        "measures": to_dict(built.measures) if built else None,
        "facts": to_dict(built.facts) if built else None,
        "uses_library_ops": list(built.library_ops) if built else None,
        "seconds": {
            "build": round(result.seconds.build, 3), "check": round(result.seconds.check, 3),
            "bench": round(result.seconds.bench, 3), "total": round(result.seconds.total, 3),
        },
        "workloads": [to_dict(w) for w in passed.workloads] if passed else None,
        "reason": None if passed else getattr(outcome, "reason", None),
        "log": getattr(outcome, "log", None),
    }  # fmt: skip
