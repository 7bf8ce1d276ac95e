"""A search from its settings to its summary: opens the pool, asks the model, runs the loop, closes all."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kforge.config import DEFAULTS, places
from kforge.errors import UsageError

if TYPE_CHECKING:
    from kforge.api.settings import PlannedRun, Settings
    from kforge.clock import Clock
    from kforge.search.context import LoopConfig
    from kforge.search.events import Event
    from kforge.search.proposer import Proposer
    from kforge.search.stop import StopSignal
    from kforge.search.summary import RunSummary


_KEYS: dict[str, str] = {}


class Watcher(Protocol):
    """Whoever is told of every step; must return at once."""

    def note(self, event: Event) -> None:
        """Take one event."""
        ...


# Given the run's name and a heading, the watchers for the time of the run.
Watch = Callable[[str, str], AbstractContextManager[Sequence[Watcher]]]


@dataclass(frozen=True, slots=True)
class Search:
    """A run after a session: its name, for the other commands, and its summary."""

    run: str
    summary: RunSummary


def evolve(
    task: str,
    *,
    language: str = DEFAULTS.language,
    models: str | Sequence[str] = DEFAULTS.models,
    evals: int = DEFAULTS.evals,
    minutes: float | None = None,
    device_seconds: float | None = None,
    tokens: int | None = None,
    usd: float | None = None,
    start_from: Sequence[Path | str] = (),
    size: str = DEFAULTS.size,
    device: str = "auto",
    track: str = "sealed",
    seed: int = DEFAULTS.seed,
    in_flight: int | None = None,
    max_reply_tokens: int = DEFAULTS.max_reply_tokens,
    temperature: float | None = None,
    in_order: bool = False,
    stop_when_waiting: bool = False,
    strategy: str = DEFAULTS.strategy,
    run: str | None = None,
    store: str | Path | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Search:
    """Evolve a kernel for a task. What ``kforge evolve`` does, without a terminal.

    Args:
        task: an id such as ``kb/L2/17``, or a file such as ``./mine.py``.
        language: ``sycl`` or ``cuda``.
        models: who is asked (docs/models.md); several are an ensemble.
        evals: evaluations to make; exact duplicates are free.
        minutes: stop asking after this long.
        device_seconds: stop asking when checks and benchmarks took this long.
        tokens: stop asking before prompts and replies may exceed this.
        usd: stop asking before the run may cost more dollars than this.
        start_from: candidate files of your own, evaluated first.
        size: ``full``, ``small``, or another size of the task.
        device: ``auto``, ``cpu``, ``gpu``, or a selector that ``kforge doctor`` lists.
        track: ``sealed`` or ``pure``.
        seed: of every decision.
        in_flight: candidates under way at a time; None is what the machine takes.
        max_reply_tokens: upper bound of one reply, reasoning included.
        temperature: of the model; None is the server's own.
        in_order: tell results in the order of their proposals.
        stop_when_waiting: with an exchange, end when only unanswered prompts are left.
        strategy: who chooses parents (docs/search.md).
        run: a name; the same name again continues that run.
        store: URL or SQLite file; None is this user's default.
        on_event: told of every step after it is stored; must return at once.

    Returns:
        The run's name and summary; ``summary.best`` is None where nothing passed.

    Raises:
        UsageError: an argument is wrong, or an event loop runs in this thread.
        KforgeError: a prerequisite is missing, or the infrastructure failed; the run can be continued.
    """
    from kforge.api.choices import checked_language, checked_track
    from kforge.api.files import read_given, writable
    from kforge.api.settings import plan_run, requested_settings

    no_running_loop("kforge.evolve")
    here = places()
    files = [start_from] if isinstance(start_from, str | Path) else start_from
    wanted = requested_settings(
        frozenset(), task=task, language=language, device=device,
        models=(models,) if isinstance(models, str) else tuple(models), in_order=in_order,
        stop_when_waiting=stop_when_waiting, strategy=strategy,
        track=checked_track(track), evals=evals, minutes=minutes, device_seconds=device_seconds,
        tokens=tokens, usd=usd, seed=seed, size=size, in_flight=in_flight, max_reply_tokens=max_reply_tokens,
        temperature=temperature, given=read_given([Path(file) for file in files], checked_language(language)),
    )  # fmt: skip
    with plan_run(here.store_url if store is None else str(store), wanted, run, None) as planned:
        summary = asyncio.run(
            drive(planned, writable(here.cache), here.user_tasks, watch=_telling(on_event), on_terminal=False)
        )
    return Search(planned.name, summary)


def _telling(on_event: Callable[[Event], None]) -> Watch:
    @dataclass(frozen=True)
    class Telling:
        def note(self, event: Event) -> None:
            on_event(event)

    return lambda name, heading: nullcontext([Telling()])


def no_running_loop(function: str) -> None:
    """Refuse where ``asyncio.run`` cannot work.

    Raises:
        UsageError: an event loop runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        f"{function} was called while an event loop runs in this thread.",
        f"call it in a thread: await asyncio.to_thread({function}, ...)",
    )


async def drive(
    planned: PlannedRun,
    cache: Path,
    user_tasks: Path,
    *,
    watch: Watch,
    prices: Path | None = None,
    on_terminal: bool = True,
) -> RunSummary:
    """Open the pool, run the loop, close the pool.

    Args:
        planned: the run.
        cache: directory for builds.
        user_tasks: where the user's own tasks lie.
        watch: who is told of every step.
        prices: a table of the user's own.
        on_terminal: take Ctrl-C and SIGTERM as requests to drain. A library leaves them to its host.

    Raises:
        KforgeError: as the loop, the pool and the proposer say.
    """
    from kforge.api.choices import checked_language
    from kforge.clock import SystemClock
    from kforge.eval.candidate import parse_candidate
    from kforge.search.loop import evolve as run_loop
    from kforge.search.proposer import require_support
    from kforge.search.stop import StopSignal
    from kforge.workers.hardware import choose_device
    from kforge.workers.local import LocalPool

    settings, clock, stop = planned.settings, SystemClock(), StopSignal()
    config = loop_config(settings)
    proposer = proposer_of(settings, clock, prices)
    device = choose_device(checked_language(settings.language), settings.device)
    heading = f"run {planned.name}: {settings.task} ({settings.size}) on {device.name}"
    try:
        if config.asks:
            await proposer.prepare()
        with watch(planned.name, heading) as watchers:
            pool = await LocalPool.open(settings.task, settings.size, device, cache, user_tasks)
            try:
                if config.asks:
                    require_support(proposer, pool.task)
                run, lease = planned.claim()
                if on_terminal:
                    _drain_on_signals(stop)
                return await run_loop(
                    config, task=pool.task, device=device, pool=pool, proposer=proposer, store=planned.store,
                    run_id=run.id, clock=clock, parse_candidate=parse_candidate,
                    on_event=lambda event: _tell(watchers, event),
                    stop=stop, lease=lease,
                )  # fmt: skip
            finally:
                await pool.close()
    finally:
        await proposer.close()


def _tell(watchers: Sequence[Watcher], event: Event) -> None:
    for watcher in watchers:
        watcher.note(event)


def _drain_on_signals(stop: StopSignal) -> None:
    """Only now: while the task is loaded, Ctrl-C ends the command at once."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.request)


def loop_config(settings: Settings) -> LoopConfig:
    """The loop's configuration.

    Raises:
        UsageError: a limit is not positive, or the track unknown.
    """
    from kforge.api.choices import checked_track
    from kforge.eval.harness import harness_version
    from kforge.search.budget import Limits
    from kforge.search.context import LoopConfig

    return LoopConfig(
        evals=settings.evals, seed=settings.seed, harness_version=harness_version(),
        track=checked_track(settings.track),
        limits=Limits(settings.minutes, settings.device_seconds, settings.tokens, settings.usd),
        # A recording fits only the order in which it was made.
        deterministic=settings.in_order or any(spec.startswith("replay:") for spec in settings.models),
        strategy=settings.strategy, given=settings.given, in_flight=settings.in_flight,
        stop_when_waiting=settings.stop_when_waiting,
        max_completion_tokens=settings.max_reply_tokens,
    )  # fmt: skip


def proposer_of(settings: Settings, clock: Clock, prices: Path | None) -> Proposer:
    """Whoever writes the candidates. Keys leave this process's environment here, before any child starts.

    Raises:
        UsageError: a spec or the price table is malformed, a limit in dollars meets an unknown price, or the
            order of an exchange would hold it up.
        MissingPrerequisite: something that a spec needs is missing.
    """
    from kforge.search.models.prices import PriceTable
    from kforge.search.models.sampling import Sampling
    from kforge.search.models.servers import KEY_VARIABLES
    from kforge.search.models.specs import make_proposer

    own = places().prices
    # A process may search twice; what the first search took out of its environment serves the second.
    _KEYS.update({name: os.environ.pop(name) for name in KEY_VARIABLES.values() if name in os.environ})
    table = PriceTable.load(prices if prices is not None else own if own.exists() else None)
    sampling = Sampling(temperature=settings.temperature)
    proposer = make_proposer(
        settings.models,
        clock=clock,
        environment={**os.environ, **_KEYS},
        prices=table,
        sampling=sampling,
    )
    if settings.in_order and proposer.keeps_requests and not settings.stop_when_waiting:
        raise UsageError(
            "--in-order with an exchange would wait for the oldest prompt whatever else is answered.",
            "add --stop-when-waiting, or leave out --in-order",
        )
    if settings.usd is not None and proposer.unpriced:
        raise UsageError(
            f"--usd cannot be kept: the price of {', '.join(proposer.unpriced)} is unknown.",
            "add it to a price table (docs/models.md) and name that with --prices FILE, or leave out --usd",
        )
    return proposer
