"""``kforge store``: look after the database."""

from __future__ import annotations

import typer

from kforge.cli.options import JsonOption, StoreOption, chosen_store
from kforge.cli.output import print_json

app = typer.Typer(help="Look after the store.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _store() -> None:
    """Keep ``migrate`` a subcommand while it is the only one."""


@app.command("migrate")
def migrate_command(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Bring a store of an older kforge to this version's schema."""
    from kforge.data.migrate import migrate

    before, after = migrate(chosen_store(store))
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        print(f"the store is at revision {after} already")
    else:
        print(f"migrated from revision {before} to {after}")
