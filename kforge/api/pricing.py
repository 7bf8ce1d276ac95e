"""What a run would cost, and where it could run, before anything is asked or stored."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from kforge.api.choices import checked_language, checked_track
from kforge.api.search import loop_config, proposer_of
from kforge.api.settings import PlannedRun, Settings, Wanted, plan_run
from kforge.clock import SystemClock
from kforge.config import places
from kforge.errors import KforgeError
from kforge.search.accounts import accounts_of
from kforge.search.proposer import Proposer, Quote
from kforge.types import DeviceInfo


@dataclass(frozen=True, slots=True)
class Place:
    """A device of the run's language on this machine, and whether the run would take it."""

    selector: str
    name: str
    arch: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A priced run. Dollars and tokens are upper bounds: every reply as long as it may be.

    Attributes:
        told: evaluations that a stored run has made already.
        requests: replies that the evaluations take, if none repeats another; those that do cost as much.
        prompt_tokens: of the first prompt, estimated; later ones show parents and may be longer.
        request_tokens: one request at most, prompt and reply.
        request_usd: the same in dollars.
        allowed_requests: how many requests the limits in tokens and dollars allow at that price.
        unpriced: models of unknown price: their dollars are counted as none.
        obstacles: what would keep the run from starting now, each with what to do.
    """

    task: str
    size: str
    language: str
    models: tuple[str, ...]
    evals: int
    given: int
    told: int
    requests: int
    prompt_tokens: int
    request_tokens: int
    request_usd: float
    run_tokens: int
    run_usd: float
    allowed_requests: int
    unpriced: tuple[str, ...]
    devices: tuple[Place, ...]
    obstacles: tuple[str, ...]


def price_run(
    wanted: Wanted, store: str, run: str | None, resume: str | None, prices: Path | None
) -> RunPlan:
    """Price a run without starting it.

    Args:
        wanted: what the command line asks for.
        store: URL of the store; a stored run is read, not claimed.
        run: name of a new run.
        resume: name of a stored one.
        prices: a table of the user's own.

    Raises:
        KforgeError: the options are wrong, or the task cannot be loaded.
    """
    if resume is None and run is None and wanted.settings is not None:
        return _priced(wanted.settings, prices, NOTHING_DONE)
    with plan_run(store, wanted, run, resume, claim=False) as planned:
        return _priced(planned.settings, prices, _done(planned))


@dataclass(frozen=True, slots=True)
class Done:
    """What a stored run has used already."""

    evaluations: int
    tokens: int
    usd: float


NOTHING_DONE = Done(0, 0, 0.0)


def _done(planned: PlannedRun) -> Done:
    stored = planned.store.find_run(planned.name)
    if stored is None:
        return NOTHING_DONE
    records = planned.store.load_run(stored.id)
    paid = [account for account in accounts_of(records) if account.by == "model"]
    tokens, usd = sum(account.tokens for account in paid), sum(account.usd for account in paid)
    return Done(len(records.evaluations), tokens, usd)


def _priced(settings: Settings, prices: Path | None, done: Done) -> RunPlan:
    from kforge.search.archive import Archive
    from kforge.search.prompts import CHARS_PER_TOKEN, parts_of, render_prompt
    from kforge.search.proposer import ProposalRequest, require_support
    from kforge.search.selection import decide
    from kforge.search.state import SearchState
    from kforge.search.strategies.registry import make_strategy
    from kforge.workers.local import describe_task

    config = loop_config(settings)
    proposer = proposer_of(settings, SystemClock(), prices)
    task = describe_task(settings.task, settings.size, places().user_tasks)
    if config.asks:
        require_support(proposer, task)
    devices, device, trouble = _devices(settings)
    search = SearchState(Archive(), make_strategy(settings.strategy, settings.seed))
    decision = decide(settings.seed, 0, search.archive, (), search.strategy)
    messages = render_prompt(task, device, checked_track(settings.track), parts_of(decision, search))
    request = ProposalRequest(messages, decision.seed, 0, config.max_completion_tokens)
    quote = proposer.quote(request)
    requests = max(0, settings.evals - max(done.evaluations, len(settings.given)))
    return RunPlan(
        task=settings.task,
        size=settings.size,
        language=settings.language,
        models=settings.models,
        evals=settings.evals,
        given=len(settings.given),
        told=done.evaluations,
        requests=requests,
        prompt_tokens=sum(len(message.content) for message in messages) // CHARS_PER_TOKEN,
        request_tokens=quote.tokens,
        request_usd=quote.usd,
        run_tokens=requests * quote.tokens,
        run_usd=requests * quote.usd,
        allowed_requests=_allowed(settings, requests, quote, done),
        unpriced=proposer.unpriced,
        devices=tuple(Place(d.selector, d.name, d.arch, d == device) for d in devices),
        obstacles=(*trouble, *asyncio.run(_unprepared(proposer))),
    )


def _devices(settings: Settings) -> tuple[tuple[DeviceInfo, ...], DeviceInfo, tuple[str, ...]]:
    """The devices here, the one that the run would take, and what is wrong.

    A CUDA prompt can be worded without a card, for an architecture that is built for.

    Raises:
        KforgeError: there is no device, and nothing can stand in for one.
    """
    from kforge.errors import NoDevice
    from kforge.eval.cuda_devices import BUILD_TARGETS, DEFAULT_TARGET
    from kforge.workers.hardware import choose_device, detect_devices

    language = checked_language(settings.language)
    try:
        return detect_devices(language), choose_device(language, settings.device), ()
    except NoDevice as error:
        if language != "cuda":
            raise
        return detect_devices(language), BUILD_TARGETS[DEFAULT_TARGET], (_said(error),)


def _allowed(settings: Settings, requests: int, quote: Quote, done: Done) -> int:
    """How many requests at this price the limits allow."""
    allowed = requests
    if settings.tokens is not None and quote.tokens:
        allowed = min(allowed, (settings.tokens - done.tokens) // quote.tokens)
    if settings.usd is not None and quote.usd:
        allowed = min(allowed, int((settings.usd - done.usd) / quote.usd))
    return max(0, allowed)


async def _unprepared(proposer: Proposer) -> tuple[str, ...]:
    """What the proposer lacks: a key, a server, a model."""
    try:
        await proposer.prepare()
    except KforgeError as error:
        return (_said(error),)
    finally:
        await proposer.close()
    return ()


def _said(error: KforgeError) -> str:
    return f"{error.message} Next: {error.next_step}"
