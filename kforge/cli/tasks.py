"""``kforge tasks``: what can be worked on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kforge.cli.options import JsonOption, SizeOption
from kforge.cli.output import print_json

app = typer.Typer(help="List, show and add tasks.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List the embedded tasks and your own."""
    from kforge.config import places
    from kforge.data.tasks.registry import list_tasks
    from kforge.render import print_table

    found = list_tasks(places().user_tasks)
    if as_json:
        print_json(
            [
                {"id": t.id, "title": t.title, "family": t.family, "sizes": list(t.sizes), "hash": t.hash}
                for t in found
            ]
        )
        return
    rows = [(t.id, t.title, t.family or "", " ".join(t.sizes)) for t in found]
    print_table(("task", "title", "family", "sizes"), rows)


@app.command("show")
def show(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Task id, or a file.")],
    size: SizeOption = "full",
    as_json: JsonOption = False,
) -> None:
    """Show one task: its source, and the shapes at one size. Loading it proves that it works."""
    from kforge.codec import to_dict
    from kforge.config import places
    from kforge.data.tasks.registry import resolve
    from kforge.render import print_task
    from kforge.workers.local import describe_task

    resolve(task, places().user_tasks)
    description = describe_task(task, size, places().user_tasks)
    if as_json:
        print_json(to_dict(description))
    else:
        print_task(description)


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
        print(f"added {added.id}: kforge evolve --task {added.id}")
