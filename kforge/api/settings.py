"""The settings of a run: what was asked for, what a stored run began with, and how the two meet."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kforge.clock import SystemClock
from kforge.codec import from_json, to_dict
from kforge.config import DEFAULTS
from kforge.errors import UsageError
from kforge.search.context import Given
from kforge.search.strategies.registry import BEFORE_STRATEGIES, DEFAULT, strategy_named

if TYPE_CHECKING:
    from kforge.data.lease import Lease
    from kforge.data.records import Run
    from kforge.data.store import Store

LARGEST = 2**63  # what a store's integer column holds
# Options whose name is not that of the setting.
_OPTIONS = {"models": "model", "given": "from"}
# What may differ when a run goes on: they limit this session, or say who is asked (every proposal's row says
# who was), and are no part of the rule by which proposals are decided.
_SESSION_SETTINGS = frozenset(
    {"models", "evals", "minutes", "device_seconds", "tokens", "usd", "in_flight", "stop_when_waiting"}
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``kforge evolve``, as stored with the run. Runs of before an option existed have none.

    Attributes:
        models: who is asked, one spec or an ensemble.
        given: the user's own candidate files.
        strategy: who chooses parents, by its own name.
    """

    task: str
    task_hash: str
    size: str
    language: str
    device: str
    models: tuple[str, ...]
    track: str
    evals: int
    minutes: float | None
    seed: int
    in_flight: int | None
    stop_when_waiting: bool = False
    device_seconds: float | None = None
    tokens: int | None = None
    usd: float | None = None
    max_reply_tokens: int = DEFAULTS.max_reply_tokens
    temperature: float | None = None
    in_order: bool = False
    given: tuple[Given, ...] = ()
    strategy: str = BEFORE_STRATEGIES


class PlannedRun:
    """A run whose settings are known. ``claim`` makes it and takes the right to drive it.

    A new run is claimed once everything that a user may have got wrong has been tried (options, device,
    task file), so that the corrected command can use the same name. A stored run is claimed at once.
    """

    def __init__(self, store: Store, settings: Settings, name: str, stored: Run | None) -> None:
        self.store = store
        self.settings = settings
        self.name = name
        self._run = stored
        self._lease: Lease | None = None

    def claim(self) -> tuple[Run, Lease]:
        """The run and its lease; the first call makes what is missing.

        Raises:
            UsageError: the name is malformed, or another process drives the run.
            StoreError: the store failed.
        """
        from kforge.data.lease import this_process

        clock = SystemClock()
        if self._run is None:
            self._run = _create(self.store, self.settings, self.name, clock)
        if self._lease is None:
            self._lease = self.store.acquire(self._run.id, this_process(), clock.now())
        return self._run, self._lease

    def release(self) -> None:
        """Let others drive the run."""
        if self._lease is not None:
            self.store.release(self._lease)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        options: fields of ``Settings`` by name, defaults included.
        typed: names of those that were typed.
    """

    options: Mapping[str, Any]
    typed: frozenset[str]

    @property
    def settings(self) -> Settings | None:
        """The settings of a new run; None without ``--task``."""
        if "task" not in self.options:
            return None
        return Settings(**{**self.options, "strategy": strategy_named(self.options["strategy"])})

    @property
    def changes(self) -> Mapping[str, Any]:
        """What was typed: all that ``--resume`` takes from the command line."""
        return {name: value for name, value in self.options.items() if name in self.typed}


def requested_settings(typed: frozenset[str], *, task: str | None, **options: Any) -> Wanted:  # noqa: ANN401
    """What the command line asks for.

    Args:
        typed: names of the options that were typed.
        task: id or file of the task, if one was given.
        options: the other options, by their names in ``Settings``.

    Raises:
        UsageError: the task is unknown, or a number is out of every range.
    """
    from kforge.search.models.specs import lasting

    for name in ("seed", "evals", "max_reply_tokens"):
        if abs(options[name]) >= LARGEST:
            raise UsageError(
                f"--{name.replace('_', '-')} {options[name]} does not fit 63 bits.", "give a smaller number"
            )
    options["models"] = tuple(lasting(spec) for spec in options["models"])
    if task is None:
        return Wanted(options, typed)
    from kforge.config import places
    from kforge.data.tasks.registry import resolve

    found = resolve(task, places().user_tasks)
    return Wanted({"task": found.id, "task_hash": found.hash, **options}, typed)


@contextlib.contextmanager
def plan_run(
    url: str, wanted: Wanted, name: str | None, resume: str | None, *, claim: bool = True
) -> Iterator[PlannedRun]:
    """Find the run, or prepare a new one; whatever was claimed is released at the end.

    Args:
        url: of the store.
        wanted: what is asked for.
        name: of a run that is made, or gone on with, if it exists.
        resume: name of a run that exists.
        claim: take the right to drive a stored run.

    Raises:
        UsageError: the options contradict each other or the stored run.
        StoreError: the store cannot be opened.
    """
    from kforge.data.store import Store

    if resume is not None and name is not None:
        raise UsageError("--run and --resume both name a run.", f"kforge evolve --resume {resume}")
    asked = wanted.settings
    if resume is None and asked is None:
        raise _nothing_to_do(name)
    with Store.open(url, create=resume is None) as store:
        stored = store.get_run(resume) if resume else store.find_run(name) if name else None
        if stored is not None:
            # The same command again means all of it; --resume means the stored run and what is typed.
            all_of_it = asked is not None and resume is None
            changes = wanted.options if all_of_it else wanted.changes
            planned = PlannedRun(store, _merge(stored, changes), stored.name, stored)
            if claim:
                planned.claim()
        else:
            assert asked is not None
            planned = PlannedRun(store, asked, _new_name(store, asked) if name is None else name, None)
        try:
            yield planned
        finally:
            planned.release()


def _nothing_to_do(name: str | None) -> UsageError:
    if name is None:
        return UsageError("Nothing to work on: no --task and no --resume.", "kforge tasks list")
    return UsageError(
        f"--run {name} without --task: a new run needs a task.",
        f"kforge evolve --task TASK --run {name}, or to go on with it: kforge evolve --resume {name}",
    )


def _new_name(store: Store, wanted: Settings) -> str:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", wanted.task.removesuffix(".py")).strip("-")
    name = f"{slug[-40:].strip('-')}-{SystemClock().now():%Y%m%d-%H%M%S}"
    while store.find_run(name) is not None:
        name += "x"
    return name


def _create(store: Store, wanted: Settings, name: str, clock: SystemClock) -> Run:
    return store.create_run(
        name=name, task_id=wanted.task, size=wanted.size, language=wanted.language, seed=wanted.seed,
        config={**to_dict(wanted), **_versions()}, now=clock.now(),
    )  # fmt: skip


def _versions() -> dict[str, str]:
    """What the run's figures depend on, for its report; no part of its settings."""
    from importlib.metadata import version

    from kforge import __version__
    from kforge.eval.harness import harness_version

    return {"kforge": __version__, "harness_version": harness_version(), "torch": version("torch")}


def _merge(stored: Run, changes: Mapping[str, Any]) -> Settings:
    """The stored settings, with what this command line may change for its session.

    Raises:
        UsageError: the command line asks for another search than the stored one.
    """
    config = dict(stored.config)
    if "model" in config:  # runs of before ensembles
        config["models"] = [config.pop("model")]
    try:
        began = from_json(Settings, json.dumps(config))
    except ValueError as error:
        raise UsageError(
            f"Run {stored.name!r} was stored by another version of kforge: {error}.",
            "start a new run with --run NAME",
        ) from error
    _check_task(stored, began)
    changes = {k: v for k, v in changes.items() if (k, v) != ("strategy", DEFAULT)}  # whatever it began with
    for name, asked in changes.items():
        had = getattr(began, name)
        if asked != had and name not in _SESSION_SETTINGS:
            option = _OPTIONS.get(name, name).replace("_", "-")
            raise UsageError(
                f"Run {stored.name!r} began with {option} {_shown(had)}; this command says {_shown(asked)}.",
                f"kforge evolve --resume {stored.name}, or choose another --run NAME",
            )
    return replace(began, **changes)


def _shown(value: object) -> str:
    """A setting in a message: files by their names."""
    if isinstance(value, tuple) and all(isinstance(each, Given) for each in value):
        return ", ".join(each.name for each in value) or "no files"
    return repr(value)


def _check_task(stored: Run, began: Settings) -> None:
    from kforge.config import places
    from kforge.data.tasks.registry import resolve

    if resolve(began.task, places().user_tasks).hash != began.task_hash:
        raise UsageError(
            f"The task {began.task} has changed since run {stored.name!r} began: results would not compare.",
            "start a new run with another --run NAME",
        )
