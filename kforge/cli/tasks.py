"""``kforge tasks``: what can be worked on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kforge.cli.check_tasks import check
from kforge.cli.options import JsonOption, SizeOption
from kforge.cli.output import print_json

app = typer.Typer(help="List, show, check, add and pull tasks.", no_args_is_help=True, rich_markup_mode=None)
app.command("check")(check)
LEVELS = range(1, 5)


@app.command("list")
def list_command(
    level: Annotated[
        int | None, typer.Option("--level", metavar="N", help="Only KernelBench level N (1 to 4).")
    ] = None,
    pulled: Annotated[
        bool, typer.Option("--pulled", help="Only tasks that `kforge tasks pull` brought.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the embedded tasks, your own, and those you pulled."""
    from kforge.api.admission import admissions_of
    from kforge.config import places
    from kforge.data.tasks.registry import list_tasks
    from kforge.errors import UsageError
    from kforge.render import print_table

    if level is not None and level not in LEVELS:
        raise UsageError(f"KernelBench has no level {level}.", "Use --level 1, 2, 3 or 4")
    here = places()
    sets = here.cache / "tasks"
    found = list_tasks(here.user_tasks, sets)
    if level is not None:
        found = [t for t in found if t.id.startswith(f"kb/L{level}/")]
    if pulled:
        found = [t for t in found if t.path.is_relative_to(sets)]
    standings = admissions_of(found, "full")
    if as_json:
        print_json(
            [
                {
                    "id": t.id, "title": t.title, "family": t.family, "sizes": list(t.sizes),
                    "hash": t.hash, "needs": list(t.needs), "pulled": t.path.is_relative_to(sets),
                    "admission": standings[t.id].status,
                }
                for t in found
            ]
        )  # fmt: skip
        return
    if not found:
        print("none here; to get them: kforge tasks pull kernelbench", file=sys.stderr)
        return
    rows = [
        (
            t.id, t.title, t.family or "", standings[t.id].status,
            f"needs {' and '.join(t.needs)}" if t.needs else " ".join(t.sizes),
        )
        for t in found
    ]  # fmt: skip
    print_table(("task", "title", "family", "admission", "sizes"), rows)


@app.command("pull")
def pull_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="kernelbench or robust-kbench.")],
    directory: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take the files from a local checkout; no network."),
    ] = None,
    unpinned: Annotated[
        bool, typer.Option("--unpinned", help="With --from: take files of another revision, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a public task set at its pinned revision, checked file by file, into the cache."""
    from kforge.config import places
    from kforge.data.tasks.pull import pull, pull_from
    from kforge.data.tasks.sources import SOURCES, source
    from kforge.errors import UsageError

    chosen = next((known for known in SOURCES if known == name), None)
    if chosen is None:
        raise UsageError(f"There is no task set {name!r}.", f"Use one of: {', '.join(SOURCES)}")
    if unpinned and directory is None:
        raise UsageError("--unpinned needs --from: a download is always the pinned one.", "Add --from DIR")
    pinned = source(chosen)
    root = places().cache / "tasks"
    done = pull(pinned, root) if directory is None else pull_from(pinned, root, directory, unpinned)
    if as_json:
        print_json(
            {
                "name": name, "directory": str(done.directory), "files": done.files,
                "pinned": done.pinned, "fresh": done.fresh,
                "repository": pinned.repository, "revision": pinned.revision if done.pinned else None,
            }
        )  # fmt: skip
        return
    how = f"{pinned.repository} at {pinned.revision[:12]}" if done.pinned else "another revision, unpinned"
    print(f"{name}: {done.files} files, {how}, {'now' if done.fresh else 'already'} in {done.directory}")
    print("  next: kforge tasks list --pulled")


@app.command("show")
def show(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task id, or a file.")],
    size: SizeOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Show one task: its source, and the shapes at one size. Loading it proves that it works."""
    from kforge.api.admission import admission_of_task
    from kforge.codec import to_dict
    from kforge.config import places
    from kforge.data.tasks.registry import resolve
    from kforge.render import print_task
    from kforge.workers.local import describe_task

    resolve(task, places().user_tasks)
    description = describe_task(task, size, places().user_tasks)
    admission = admission_of_task(task, size)
    if as_json:
        print_json({**to_dict(description), "admission": to_dict(admission)})
    else:
        print_task(description, admission.line)


@app.command("add")
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A task file with Model, get_inputs, get_init_inputs.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Its id becomes user/NAME. Default: the file's name."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a task file into your own tasks, after loading it once."""
    from kforge.config import places
    from kforge.data.tasks.registry import add_task, resolve
    from kforge.workers.local import describe_task

    chosen = name or file.stem.lower().replace(" ", "_")
    resolve(f"./{file}" if not file.is_absolute() else str(file), None)
    describe_task(str(file.resolve()), "full", None)
    added = add_task(file, chosen, places().user_tasks)
    if as_json:
        print_json({"id": added.id, "path": str(added.path), "hash": added.hash})
    else:
        print(f"added {added.id}")
        print(f"  a kernel of yours: kforge eval KERNEL.py --task {added.id}")
        print(f"  a search: kforge evolve --task {added.id} --model SPEC (docs/models.md)")
