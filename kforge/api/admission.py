"""Checking tasks with the control pack, one process per task, and reading what was found before."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kforge.clock import Clock
from kforge.codec import from_json, to_json
from kforge.config import places
from kforge.data.standing import Standing, standing_of, unknown
from kforge.data.tasks.registry import TaskFile, resolve
from kforge.data.verdicts import (
    AdmissionVerdict,
    Checked,
    NewAdmission,
    StoredAdmission,
    Unchecked,
)
from kforge.errors import InfraError, KforgeError, StoreError
from kforge.eval.admission_request import CheckRequest
from kforge.eval.harness import harness_version
from kforge.eval.launcher import FAILED
from kforge.eval.sandbox import PACKAGE_ROOT, ChildResult, Limits, run_limited, scrubbed_environment

if TYPE_CHECKING:
    from kforge.data.store import Store

PLACES = ("HOME", "KFORGE_CACHE", "XDG_CACHE_HOME")  # where pulled tasks are


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What the check of one task may take: bytes that it allocates, seconds of wall time."""

    memory_bytes: int = 6 << 30
    wall_s: float = 300.0


@dataclass(frozen=True, slots=True)
class TaskChecked:
    """One task's verdict; ``reused`` when it was stored before."""

    task: TaskFile
    stored: StoredAdmission
    reused: bool


async def check_tasks(
    tasks: Sequence[TaskFile],
    *,
    store: Store,
    size: str,
    again: bool,
    jobs: int,
    limits: CheckLimits,
    clock: Clock,
    told: Callable[[TaskChecked], None],
) -> list[TaskChecked]:
    """Check every task, or take its stored verdict; each is stored as soon as it is there.

    Args:
        tasks: what to check.
        store: where verdicts are kept.
        size: a size of the tasks, or ``shrunk``.
        again: check also what has a verdict of this evaluator.
        jobs: processes at a time.
        limits: of each process.
        clock: for the time of the verdict.
        told: hears of every verdict when it is there.

    Returns:
        one verdict for each task, in the order of ``tasks``.

    Raises:
        StoreError: a verdict cannot be stored.
        InfraError: a process cannot be started.
    """
    harness = harness_version()
    known = {} if again else _reusable(store, size, harness)
    free = asyncio.Semaphore(jobs)
    threads = max(1, (os.cpu_count() or 1) // jobs)

    async def check(task: TaskFile) -> TaskChecked:
        if task.hash in known:
            done = TaskChecked(task, known[task.hash], reused=True)
        else:
            async with free:
                verdict = await check_task(task, size=size, limits=limits, threads=threads)
            new = NewAdmission(task.id, task.hash, size, harness, verdict)
            done = TaskChecked(task, store.record_admission(new, clock.now()), reused=False)
        told(done)
        return done

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(check(task)) for task in tasks]
    return [task.result() for task in running]


def _reusable(store: Store, size: str, harness: str) -> dict[str, StoredAdmission]:
    """Verdicts by task hash. What could not be checked is tried again: limits may be others now."""
    found: dict[str, StoredAdmission] = {}
    for stored in store.find_admissions():
        value = stored.value
        if value.size == size and value.harness == harness and isinstance(value.verdict, Checked):
            found.setdefault(value.task_hash, stored)
    return found


async def check_task(task: TaskFile, *, size: str, limits: CheckLimits, threads: int) -> AdmissionVerdict:
    """Run the control pack on one task in a process of its own.

    Raises:
        InfraError: the process cannot be started.
    """
    if task.needs:
        return Unchecked(f"it needs {' and '.join(task.needs)}, which kforge does not give", 0.0)
    user_dir = places().user_tasks
    name = task.path.as_posix() if Path(task.id).is_absolute() else task.id
    request = CheckRequest(name, size, str(user_dir), limits.memory_bytes, threads, seed=0)
    extra = {name: os.environ[name] for name in PLACES if name in os.environ}
    ended = await run_limited(
        [sys.executable, "-P", "-m", "kforge.eval.admission_child"],
        limits=Limits(wall_s=limits.wall_s),
        stdin=to_json(request).encode(),
        env=scrubbed_environment(extra | {"PYTHONPATH": PACKAGE_ROOT}),
        own_processes=False,
    )
    return _verdict_of(ended, limits)


def _verdict_of(ended: ChildResult, limits: CheckLimits) -> AdmissionVerdict:
    seconds = round(ended.wall_s, 3)
    if ended.timed_out:
        return Unchecked(f"it was not done within {limits.wall_s:g} s", seconds)
    if ended.exit_code == FAILED:
        said = ended.stderr.decode(errors="replace").strip()
        raise InfraError(f"The process that checks a task cannot be started: {said}", "run `kforge doctor`")
    if ended.signal is not None:
        return Unchecked(f"its process was killed by signal {ended.signal}", seconds)
    try:
        verdict: AdmissionVerdict = from_json(AdmissionVerdict, ended.result)  # type: ignore[arg-type]
    except ValueError:
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][:300]}" if lines else ""
        return Unchecked(f"its process ended with code {ended.exit_code}{last}", seconds)
    return verdict


def admission_of(task_id: str, task_hash: str | None, size: str, store_url: str | None = None) -> Standing:
    """What the store knows of a task's admission; never an error, for it stands beside other results.

    Args:
        task_id: id or file of the task.
        task_hash: sha256 of its source; None where a run did not keep it.
        size: that is looked at.
        store_url: default: the user's own store.
    """
    if task_hash is None:
        return unknown(task_id)
    if importlib.util.find_spec("sqlalchemy") is None:  # a box that only evaluates has no store
        return unknown(task_id)
    from kforge.data.store import Store

    url = places().store_url if store_url is None else store_url
    try:
        with Store.open(url, create=False) as store:
            return standing_of(task_id, store.find_admissions(task_hash), size, harness_version())
    except StoreError:  # none there yet, or one of another schema, of which other commands speak
        return unknown(task_id)
    except KforgeError as error:
        return unknown(task_id, error.message)


def admission_of_run(task_id: str, task_hash: object, size: str, store_url: str) -> Standing:
    """The admission of a run's task: as the run's own store knows it, else the user's.

    ``task_hash`` is what the run's settings hold; older runs hold none.
    """
    known = task_hash if isinstance(task_hash, str) else None
    found = admission_of(task_id, known, size, store_url)
    return admission_of(task_id, known, size) if found.status == "unknown" else found


def admission_of_task(task: str, size: str) -> Standing:
    """The same for a task by id or file."""
    found = resolve(task, places().user_tasks)
    return admission_of(found.id, found.hash, size)


def admissions_of(tasks: Sequence[TaskFile], size: str) -> dict[str, Standing]:
    """The same for many tasks at once, by id, from the user's own store."""
    from kforge.data.store import Store

    try:
        with Store.open(places().store_url, create=False) as store:
            found = store.find_admissions()
    except KforgeError:
        found = []
    harness = harness_version()
    by_hash: dict[str, list[StoredAdmission]] = {}
    for stored in found:
        by_hash.setdefault(stored.value.task_hash, []).append(stored)
    return {task.id: standing_of(task.id, by_hash.get(task.hash, []), size, harness) for task in tasks}
