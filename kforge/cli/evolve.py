"""``kforge evolve``: search for a fast kernel. Wires store, pool, proposer and loop."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kforge.cli.options import (
    DeviceOption,
    JsonOption,
    SizeOption,
    StoreOption,
    TrackOption,
    checked_track,
    chosen_store,
    writable,
)
from kforge.cli.output import print_json
from kforge.config import DEFAULTS
from kforge.errors import UsageError

if TYPE_CHECKING:
    from kforge.cli.settings import PlannedRun
    from kforge.clock import Clock
    from kforge.evolve.proposer import Proposer
    from kforge.evolve.summary import RunSummary
    from kforge.types import Language


def evolve(  # noqa: PLR0917 - typer reads the options from the signature
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="TASK", help="Task id such as kb/L2/17, or a file such as ./mine.py."
        ),
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="L", help="Language of the kernels: sycl or cuda.")
    ] = DEFAULTS.language,
    device: DeviceOption = "auto",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="SPEC",
            help="Who proposes: offline (rule-based, no model, no network), or exchange:DIR (a person or an "
            "agent answers: prompts and answers are files).",
        ),
    ] = DEFAULTS.model,
    track: TrackOption = "sealed",
    evals: Annotated[
        int, typer.Option("--evals", metavar="N", help="Evaluations to make; exact duplicates are free.")
    ] = DEFAULTS.evals,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="Stop proposing after this long.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Seed of every decision.")] = DEFAULTS.seed,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="NAME", help="Name of the run; the same name again continues it."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="NAME",
            help="Continue this run with the settings it began with. --evals, --minutes, --in-flight, "
            "--stop-when-waiting and the directory of an exchange may be given anew.",
        ),
    ] = None,
    store: StoreOption = None,
    size: SizeOption = DEFAULTS.size,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            metavar="N",
            help="Candidates under way at a time, prompts that wait for an answer included. "
            "Default: what the machine takes.",
        ),
    ] = None,
    stop_when_waiting: Annotated[
        bool,
        typer.Option(
            "--stop-when-waiting",
            help="With an exchange: end, in state waiting, when only unanswered prompts are left; "
            "--resume goes on.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Evolve a kernel for a task: propose, build, check, time, keep the best of every kind.

    Every step is stored before it counts: after a crash or kill -9 the same command with --run NAME, or
    --resume NAME, goes on where it stopped. Ctrl-C drains what is under way; a second one stops at once.
    """
    from kforge.cli.settings import plan_run, requested_settings
    from kforge.codec import to_dict
    from kforge.config import places
    from kforge.render import print_summary

    here = places()
    wanted = requested_settings(
        typed_options(context), task=task, language=language, device=device, model=model,
        track=checked_track(track), evals=evals, minutes=minutes, seed=seed, size=size, in_flight=in_flight,
        stop_when_waiting=stop_when_waiting,
    )  # fmt: skip
    with plan_run(chosen_store(store), wanted, run, resume) as planned:
        summary = asyncio.run(_drive(planned, writable(here.cache), here.user_tasks))
    name, settings = planned.name, planned.settings
    if as_json:
        print_json({"run": name, "task": settings.task, "size": settings.size, **to_dict(summary)})
    else:
        print_summary(name, settings.task, settings.size, summary)
        if summary.unanswered:
            print(f"{summary.unanswered} prompts wait for an answer; docs/exchange.md says how to answer.")
            print(f"then: kforge evolve --resume {name} --model {shlex.quote(settings.model)}")


def typed_options(context: typer.Context) -> frozenset[str]:
    """Names of the parameters that were typed, and are no defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(
        name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"
    )


async def _drive(planned: PlannedRun, cache: Path, user_tasks: Path) -> RunSummary:
    """Open the pool, run the loop under signal handlers, close the pool."""
    from kforge.clock import SystemClock
    from kforge.eval.candidate import parse_candidate
    from kforge.eval.harness import harness_version
    from kforge.evolve.context import LoopConfig
    from kforge.evolve.loop import evolve as run_loop
    from kforge.evolve.proposer import require_support
    from kforge.evolve.stop import StopSignal
    from kforge.status import StatusLine
    from kforge.workers.hardware import choose_device
    from kforge.workers.local import LocalPool

    settings = planned.settings
    language, track = checked_language(settings.language), checked_track(settings.track)
    clock = SystemClock()
    proposer = make_proposer(settings.model, clock)
    config = LoopConfig(
        evals=settings.evals, seed=settings.seed, harness_version=harness_version(), track=track,
        minutes=settings.minutes, in_flight=settings.in_flight, stop_when_waiting=settings.stop_when_waiting,
    )  # fmt: skip
    device = choose_device(language, settings.device)
    stop = StopSignal()
    heading = f"run {planned.name}: {settings.task} ({settings.size}) on {device.name}"
    with StatusLine(sys.stderr, clock, run=planned.name, heading=heading) as status:
        pool = await LocalPool.open(settings.task, settings.size, device, cache, user_tasks)
        try:
            require_support(proposer, pool.task)
            run, lease = planned.claim()
            # Only now: while the task is loaded, Ctrl-C ends the command at once.
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.request)
            return await run_loop(
                config, task=pool.task, device=device, pool=pool, proposer=proposer, store=planned.store,
                run_id=run.id, clock=clock, parse_candidate=parse_candidate, on_event=status.note,
                stop=stop, lease=lease,
            )  # fmt: skip
        finally:
            await pool.close()


def checked_language(language: str) -> Language:
    """The language, or a usage error.

    Raises:
        UsageError: no such language.
    """
    if language == "sycl":
        return "sycl"
    if language == "cuda":
        return "cuda"
    raise UsageError(f"--language {language!r} is unknown.", "use --language sycl or --language cuda")


@dataclass(frozen=True, slots=True)
class ProposerKind:
    """One way to get proposals: how it is written, and what makes it from what follows the colon."""

    spec: str
    make: Callable[[str, Clock], Proposer]


def _make_offline(rest: str, clock: Clock) -> Proposer:
    from kforge.evolve.offline.proposer import OfflineProposer

    return OfflineProposer()


def _make_exchange(directory: str, clock: Clock) -> Proposer:
    from kforge.evolve.exchange import ExchangeProposer

    return ExchangeProposer(Path(directory), clock)


PROPOSERS: Mapping[str, ProposerKind] = {
    "offline": ProposerKind("offline", _make_offline),
    "exchange": ProposerKind("exchange:DIR", _make_exchange),
}


def make_proposer(spec: str, clock: Clock) -> Proposer:
    """The proposer that ``--model`` names.

    Raises:
        UsageError: this version knows no such proposer.
        MissingPrerequisite: it lacks something on this machine.
    """
    name, _, rest = spec.partition(":")
    kind = PROPOSERS.get(name)
    if kind is None or bool(rest) != (":" in kind.spec):
        raise UsageError(
            f"--model {spec!r} is not a proposer of this version, which has:"
            f" {', '.join(known.spec for known in PROPOSERS.values())}.",
            "use " + " or ".join(f"--model {known.spec}" for known in PROPOSERS.values()),
        )
    return kind.make(rest, clock)
