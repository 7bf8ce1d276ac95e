"""``kforge tasks check``: do tasks deserve to be tasks?"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kforge.cli.options import JsonOption, StoreOption, chosen_store
from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.api.admission import TaskChecked
    from kforge.data.tasks.registry import TaskFile


def check(  # noqa: PLR0917 - typer reads the options from the signature
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="TASK...", help="Task ids, or files.", show_default=False)
    ] = None,
    level: Annotated[
        list[int] | None, typer.Option("--level", metavar="N", help="All of KernelBench level N; repeatable.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every task that `kforge tasks list` lists.")] = False,
    size: Annotated[
        str,
        typer.Option("--size", metavar="SIZE", help="full, small, or shrunk: full, cut until it fits here."),
    ] = "shrunk",
    kernelbench: Annotated[
        Path | None,
        typer.Option(
            "--kernelbench",
            metavar="DIR",
            envvar="KERNELBENCH_ROOT",
            help="A KernelBench checkout to take tasks from, as `kforge tasks pull kernelbench --from`.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what has a verdict of this evaluator.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Processes at a time.")] = 1,
    memory_gib: Annotated[
        float, typer.Option("--memory", metavar="GIB", min=0.01, help="GiB that one task may allocate.")
    ] = 6.0,
    limit_s: Annotated[
        float, typer.Option("--limit", metavar="SECONDS", min=0.1, help="Deadline of one task.")
    ] = 300.0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the control pack on tasks. Exit code 0: all admitted, 1: some degenerate, 2: some not checkable."""
    from kforge.api.admission import CheckLimits, check_tasks
    from kforge.clock import SystemClock
    from kforge.data.store import Store
    from kforge.errors import KforgeError

    chosen = _chosen(tasks or [], level or [], every, kernelbench)
    told = _progress(len(chosen))
    with Store.open(chosen_store(store)) as opened:
        try:
            done = asyncio.run(
                check_tasks(
                    chosen, store=opened, size=size, again=again, jobs=jobs,
                    limits=CheckLimits(int(memory_gib * (1 << 30)), limit_s), clock=SystemClock(), told=told,
                )
            )  # fmt: skip
        except BaseExceptionGroup as group:
            first = group.exceptions[0]
            raise first if isinstance(first, KforgeError) else group from None
    if as_json:
        print_json([document(each) for each in done])
    else:
        from kforge.render import print_admissions

        print_admissions([(each.task.id, each.stored.value.verdict) for each in done])
    raise typer.Exit(exit_code(done))


def _chosen(names: list[str], levels: list[int], every: bool, checkout: Path | None) -> list[TaskFile]:
    """The tasks that are asked for, each once."""
    from kforge.config import places
    from kforge.data.tasks.pull import pull_from
    from kforge.data.tasks.registry import list_tasks, resolve
    from kforge.data.tasks.sources import source
    from kforge.errors import UsageError

    here = places()
    if not names and not levels and not every:
        raise UsageError("Name tasks to check.", "kforge tasks check TASK, --level N, or --all")
    wrong = [level for level in levels if level not in range(1, 5)]
    if wrong:
        raise UsageError(f"KernelBench has no level {wrong[0]}.", "Use --level 1, 2, 3 or 4")
    sets = here.cache / "tasks"
    if checkout is not None:
        pull_from(source("kernelbench"), sets, checkout)
    found = [resolve(name, here.user_tasks) for name in names]
    if levels or every:
        listed = list_tasks(here.user_tasks, sets)
        found += [t for t in listed if every or any(t.id.startswith(f"kb/L{n}/") for n in levels)]
    return list({task.id: task for task in found}.values())


def _progress(total: int) -> Any:  # noqa: ANN401 - a closure
    from kforge.data.verdicts import describe_verdict

    count = 0

    def told(done: TaskChecked) -> None:
        nonlocal count
        count += 1
        verdict = done.stored.value.verdict
        how = "stored before" if done.reused else f"{verdict.seconds:.1f} s"
        print(f"[{count}/{total}] {done.task.id}: {describe_verdict(verdict)} ({how})", file=sys.stderr)

    return told


def document(done: TaskChecked) -> dict[str, Any]:
    """One task of the JSON document."""
    from kforge.codec import to_dict
    from kforge.data.verdicts import REFEREES, AdmissionVerdict, Checked, status_of

    value = done.stored.value
    verdict = value.verdict
    checked = isinstance(verdict, Checked)
    return {
        "task": value.task_id if not done.reused else done.task.id,
        "task_hash": value.task_hash,
        "size": value.size,
        "harness_version": value.harness,
        "status": status_of(verdict),
        "accepted": {r: list(verdict.accepted(r)) for r in REFEREES}
        if isinstance(verdict, Checked)
        else None,
        "reused": done.reused,
        "checked_at": done.stored.created_at.isoformat(),
        "reason": None if checked else getattr(verdict, "reason", None),
        "verdict": to_dict(verdict, AdmissionVerdict),
    }


def exit_code(done: list[TaskChecked]) -> int:
    """1 where kforge's own rules accept a control, else 2 where a task could not be checked, else 0."""
    from kforge.data.verdicts import status_of

    found = {status_of(each.stored.value.verdict) for each in done}
    return 1 if "degenerate" in found else 2 if "unchecked" in found else 0
