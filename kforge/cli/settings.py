"""The settings of a run: what was asked for, what a stored run began with, and how the two meet."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from kforge.clock import SystemClock
from kforge.errors import UsageError

if TYPE_CHECKING:
    from kforge.data.lease import Lease
    from kforge.data.records import Run
    from kforge.data.store import Store

# What may differ when a run goes on: they limit this session, they do not shape the search.
_SESSION_SETTINGS = ("evals", "minutes", "in_flight")


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``kforge evolve``, as stored with the run."""

    task: str
    task_hash: str
    size: str
    language: str
    device: str
    model: str
    track: str
    evals: int
    minutes: float | None
    seed: int
    in_flight: int | None


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that this process may drive."""

    store: Store
    run: Run
    settings: Settings
    lease: Lease


def requested_settings(*, task: str | None, **options: Any) -> Settings | None:  # noqa: ANN401
    """What the command line asks for; None without ``--task`` (a run is resumed then)."""
    if task is None:
        return None
    from kforge.config import places
    from kforge.data.tasks.registry import resolve

    found = resolve(task, places().user_tasks)
    return Settings(task=found.id, task_hash=found.hash, **options)


@contextlib.contextmanager
def open_run(url: str, wanted: Settings | None, name: str | None, resume: str | None) -> Iterator[OpenedRun]:
    """Create or find the run, and hold its lease.

    Raises:
        UsageError: the options contradict each other or the stored run.
        StoreError: the store cannot be opened.
    """
    from kforge.data.lease import this_process
    from kforge.data.store import Store

    if resume is not None and name is not None:
        raise UsageError("--run and --resume both name a run.", f"kforge evolve --resume {resume}")
    if resume is None and wanted is None:
        raise UsageError("Nothing to work on: no --task and no --resume.", "kforge tasks list")
    clock = SystemClock()
    with Store.open(url) as store:
        stored = store.get_run(resume) if resume else store.find_run(name) if name else None
        if stored is None:
            assert wanted is not None
            stored = _create(store, wanted, name, clock)
            settings = wanted
        else:
            settings = _merge(stored, wanted)
        lease = store.acquire(stored.id, this_process(), clock.now())
        try:
            yield OpenedRun(store, stored, settings, lease)
        finally:
            store.release(lease)


def _create(store: Store, wanted: Settings, name: str | None, clock: SystemClock) -> Run:
    now = clock.now()
    if name is None:
        slug = re.sub(r"[^A-Za-z0-9]+", "-", wanted.task.rsplit(".py", 1)[0].split("/home/")[-1]).strip("-")
        name = f"{slug[-40:].strip('-')}-{now:%Y%m%d-%H%M%S}"
        while store.find_run(name) is not None:
            name += "x"
    return store.create_run(
        name=name, task_id=wanted.task, size=wanted.size, language=wanted.language, seed=wanted.seed,
        config=asdict(wanted), now=now,
    )  # fmt: skip


def _merge(stored: Run, wanted: Settings | None) -> Settings:
    """The stored settings, with the session's limits of this command line.

    Raises:
        UsageError: the command line asks for another search than the stored one.
    """
    try:
        began = Settings(**stored.config)  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(
            f"Run {stored.name!r} was stored by another version of kforge: {error}.",
            "start a new run with --run NAME",
        ) from error
    _check_task(stored, began)
    if wanted is None:
        return began
    for field in fields(Settings):
        asked, had = getattr(wanted, field.name), getattr(began, field.name)
        if field.name not in _SESSION_SETTINGS and asked != had:
            option = field.name.replace("_", "-")
            raise UsageError(
                f"Run {stored.name!r} began with {option} {had!r}; this command says {asked!r}.",
                f"kforge evolve --resume {stored.name}, or choose another --run NAME",
            )
    return replace(began, **{name: getattr(wanted, name) for name in _SESSION_SETTINGS})


def _check_task(stored: Run, began: Settings) -> None:
    from kforge.config import places
    from kforge.data.tasks.registry import resolve

    if resolve(began.task, places().user_tasks).hash != began.task_hash:
        raise UsageError(
            f"The task {began.task} has changed since run {stored.name!r} began: results would not compare.",
            "start a new run with another --run NAME",
        )
