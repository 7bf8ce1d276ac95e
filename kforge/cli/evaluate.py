"""``kforge eval``: one candidate through the full protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kforge.cli.options import (
    DeviceOption,
    EvalTrackOption,
    JsonOption,
    RecordOption,
    RequireSandboxOption,
    SanitizeOption,
    SizeOption,
    TaskOption,
)
from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.api.evaluation import Evaluation
    from kforge.errors import NoDevice


def evaluate(  # noqa: PLR0917 - typer reads the options from the signature
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A sealed candidate (docs/candidate.md), or with --track open a file with a ModelNew.",
        ),
    ],
    task: TaskOption,
    device: DeviceOption = "auto",
    size: SizeOption = "full",
    track: EvalTrackOption = "sealed",
    require_sandbox: RequireSandboxOption = False,
    sanitize: SanitizeOption = False,
    record: RecordOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build, check and time one candidate. Exit code 0: it passed, 1: it was rejected."""
    from kforge.api.admission import admission_of_task
    from kforge.api.evaluation import evaluate_text
    from kforge.api.files import read_candidate
    from kforge.codec import to_dict
    from kforge.errors import NoDevice
    from kforge.render import print_evaluation, print_standing

    text = read_candidate(file)
    try:
        found = evaluate_text(
            text, task=task, size=size, device=device, track=track,
            require_sandbox=require_sandbox, sanitize=sanitize, record=record,
        )  # fmt: skip
    except NoDevice as missing:
        found = build_only(missing, text, task, size, target=device, track=track, as_json=as_json)
    admission = admission_of_task(task, size)
    if as_json:
        said = document(found, task=task, size=size, track=track, text=text)
        quality = "record" if record else "screen"
        print_json({**said, "quality": quality, "task_admission": to_dict(admission)})
    else:
        print_evaluation(found.outcome, found.built, found.device)
        print_around(found)
        print_standing(admission)
    raise typer.Exit(1 if found.passed is None else 0)


def build_only(
    missing: NoDevice, text: str, task: str, size: str, *, target: str, track: str, as_json: bool
) -> Evaluation:
    """What can be said of a CUDA candidate without a card: how its build was rejected.

    Raises:
        NoDevice: it was built, and the facts go with the error; or it is no sealed CUDA candidate.
    """
    from kforge.api.choices import checked_track
    from kforge.api.evaluation import Evaluation
    from kforge.api.files import writable
    from kforge.codec import to_dict
    from kforge.config import places
    from kforge.errors import InfraError, NoDevice
    from kforge.eval.candidate import parse_candidate
    from kforge.eval.cuda_devices import BUILD_TARGETS, DEFAULT_TARGET
    from kforge.render import print_built
    from kforge.types import Built, CandidateSource, InfraFailed, StageSeconds
    from kforge.workers.building import build_once

    source, here = parse_candidate(text), places()
    if not isinstance(source, CandidateSource) or source.language != "cuda":
        raise missing
    card = BUILD_TARGETS[target if target in BUILD_TARGETS else DEFAULT_TARGET]
    report = build_once(
        source, task, size,
        target=card, track=checked_track(track), cache_dir=writable(here.cache), user_dir=here.user_tasks,
    )  # fmt: skip
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
                    "plan_facts": {name: to_dict(facts) for name, facts in built.plan_facts.items()},
                    "uses_library_ops": list(built.library_ops),
                    "seconds": {"build": round(report.seconds, 3)},
                },
            )
        case InfraFailed(reason=reason):
            raise InfraError(f"The candidate could not be built: {reason}", "run `kforge doctor`")
        case rejected:
            seconds = StageSeconds(build=report.seconds, total=report.seconds)
            return Evaluation(rejected, source, None, None, seconds)


def print_around(found: Evaluation) -> None:
    """What surrounded the candidate: extensions built for it, its sandbox, what compute-sanitizer said."""
    for extension in found.extensions:
        where = "from the cache" if extension.cached else "built"
        print(
            f"extension {extension.name}: {where} with {extension.headers} headers, {extension.build_s:.1f} s"
        )
    if found.sandbox:
        missing = [name for name, there in found.sandbox.items() if not there]
        held = f"without {', '.join(missing)}" if missing else f"all {len(found.sandbox)} layers"
        print(f"sandbox: {held}")
    for said in found.sanitizer or ():
        end = "clean" if said.clean else "findings"
        print(f"compute-sanitizer {said.tool} on workload {said.workload}: {end}")
        for line in said.findings:
            print(f"  {line}")


def document(found: Evaluation, *, task: str, size: str, track: str, text: str) -> dict[str, Any]:
    """The JSON of ``kforge eval``: every key of the contract, null where a value was not earned."""
    import hashlib

    from kforge.codec import to_dict
    from kforge.types import CandidateSource, CheckFailed

    source, outcome, built, device = found.source, found.outcome, found.built, found.device
    passed = found.passed
    failed = outcome if isinstance(outcome, CheckFailed) else None
    max_error = passed.max_error if passed else failed.max_error if failed else None
    kb_correct = passed.kb_correct if passed else failed.kb_correct if failed else None
    precision = source.precision if source else None
    language = source.language if isinstance(source, CandidateSource) else "python" if source else None
    return {
        "status": outcome.status,
        "task": task,
        "size": size,
        "language": language,
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
        "plan_facts": {n: to_dict(facts) for n, facts in built.plan_facts.items()} if built else None,
        "uses_library_ops": list(built.library_ops) if built else None,
        "seconds": {
            "build": round(found.seconds.build, 3), "check": round(found.seconds.check, 3),
            "bench": round(found.seconds.bench, 3), "total": round(found.seconds.total, 3),
        },
        "sandbox": None if found.sandbox is None else dict(found.sandbox),
        "extensions": [
            {"name": e.name, "headers": e.headers, "build_s": round(e.build_s, 3), "cached": e.cached}
            for e in found.extensions
        ],
        "sanitizer": None if found.sanitizer is None else [to_dict(said) for said in found.sanitizer],
        "workloads": [to_dict(w) for w in passed.workloads] if passed else None,
        "reason": None if passed else getattr(outcome, "reason", None),
        "log": getattr(outcome, "log", None),
    }  # fmt: skip
