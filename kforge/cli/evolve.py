"""``kforge evolve``: search for a fast kernel. Options in, a summary out; ``kforge.api`` does the work."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kforge.cli import search_options as options
from kforge.cli.options import DeviceOption, JsonOption, SizeOption, StoreOption, TrackOption, chosen_store
from kforge.cli.output import print_json
from kforge.config import DEFAULTS
from kforge.errors import UsageError

if TYPE_CHECKING:
    from kforge.api.search import Watch, Watcher
    from kforge.api.settings import PlannedRun
    from kforge.search.summary import RunSummary


def evolve(  # noqa: PLR0917 - typer reads the options from the signature
    context: typer.Context,
    task: options.TaskOption = None,
    given: options.FromOption = None,
    language: options.LanguageOption = DEFAULTS.language,
    device: DeviceOption = "auto",
    models: options.ModelOption = None,
    track: TrackOption = "sealed",
    evals: options.EvalsOption = DEFAULTS.evals,
    minutes: options.MinutesOption = None,
    device_seconds: options.DeviceSecondsOption = None,
    tokens: options.TokensOption = None,
    usd: options.UsdOption = None,
    prices: options.PricesOption = None,
    max_reply_tokens: options.MaxReplyTokensOption = DEFAULTS.max_reply_tokens,
    temperature: options.TemperatureOption = None,
    seed: options.SeedOption = DEFAULTS.seed,
    strategy: options.StrategyOption = DEFAULTS.strategy,
    run: options.RunOption = None,
    resume: options.ResumeOption = None,
    store: StoreOption = None,
    size: SizeOption = DEFAULTS.size,
    in_flight: options.InFlightOption = None,
    in_order: options.InOrderOption = False,
    stop_when_waiting: options.StopWhenWaitingOption = False,
    dry_run: options.DryRunOption = False,
    events: options.EventsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evolve a kernel for a task: propose, build, check, time, keep the best of every kind.

    Every step is stored before it counts: after a crash or kill -9 the same command with --run NAME, or
    --resume NAME, goes on where it stopped. Ctrl-C drains what is under way; a second one stops at once.
    At a limit nothing more is asked for, and what is paid for is evaluated.
    """
    from kforge.api.choices import checked_language, checked_track
    from kforge.api.files import read_given, writable
    from kforge.api.search import drive
    from kforge.api.settings import plan_run, requested_settings
    from kforge.config import places

    if given and resume is not None:
        raise UsageError("--from belongs to a new run.", f"kforge evolve --resume {resume}")
    wanted = requested_settings(
        typed_options(context), task=task, language=language, device=device,
        models=tuple(models or DEFAULTS.models), track=checked_track(track), evals=evals, minutes=minutes,
        device_seconds=device_seconds, tokens=tokens, usd=usd, max_reply_tokens=max_reply_tokens,
        temperature=temperature, seed=seed, strategy=strategy, size=size, in_flight=in_flight,
        in_order=in_order, stop_when_waiting=stop_when_waiting,
        given=read_given(given or (), checked_language(language)),
    )  # fmt: skip
    if dry_run:
        from kforge.cli.dry_run import price

        price(wanted, chosen_store(store), run, resume, prices, as_json=as_json)
        return
    here = places()
    with plan_run(chosen_store(store), wanted, run, resume) as planned:
        work = drive(planned, writable(here.cache), here.user_tasks, watch=watching(events), prices=prices)
        summary = asyncio.run(work)
    show(planned, summary, chosen_store(store), as_json=as_json)


def typed_options(context: typer.Context) -> frozenset[str]:
    """Names of the parameters that were typed, and are no defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(
        name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"
    )


def watching(events: Path | None) -> Watch:
    """The status line, and a file of events where one is asked for."""

    @contextlib.contextmanager
    def watch(run: str, heading: str) -> Iterator[Sequence[Watcher]]:
        from kforge.clock import SystemClock
        from kforge.event_log import EventLog
        from kforge.status import StatusLine

        clock = SystemClock()
        with contextlib.ExitStack() as stack:
            log = [] if events is None else [stack.enter_context(EventLog(events, clock, run, sys.stderr))]
            yield [*log, stack.enter_context(StatusLine(sys.stderr, clock, run=run, heading=heading))]

    return watch


def show(planned: PlannedRun, summary: RunSummary, store_url: str, *, as_json: bool) -> None:
    """Print how a session ended."""
    from kforge.api.admission import admission_of_run
    from kforge.codec import to_dict
    from kforge.render import print_standing, print_summary

    name, settings = planned.name, planned.settings
    admission = admission_of_run(settings.task, settings.task_hash, settings.size, store_url)
    if as_json:
        said = {"run": name, "task": settings.task, "size": settings.size, **to_dict(summary)}
        print_json({**said, "task_admission": to_dict(admission)})
        return
    print_summary(name, settings.task, settings.size, summary)
    print_standing(admission)
    if summary.unanswered:
        model = shlex.quote(settings.models[0])
        print(f"{summary.unanswered} prompts wait for an answer; docs/exchange.md says how to answer.")
        print(f"then: kforge evolve --resume {name} --model {model}")
