"""The command line. ``main`` is the console script; commands live in files of their own."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

from kforge import __version__
from kforge.cli import doctor, evaluate, evolve, report, store, tasks
from kforge.cli.output import report_error
from kforge.errors import InfraError, KforgeError

app = typer.Typer(
    name="kforge",
    help="The open foundry for GPU kernels: propose, verify, time and evolve kernels for PyTorch tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("evolve")(evolve.evolve)
app.command("eval")(evaluate.evaluate)
app.add_typer(tasks.app, name="tasks")
app.add_typer(report.runs_app, name="runs")
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
app.add_typer(store.app, name="store")


def _version(shown: bool) -> None:
    if shown:
        print(f"kforge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line; every error ends as one message with what to do next, and an exit code."""
    as_json = "--json" in sys.argv
    try:
        app()
    except KforgeError as error:
        sys.exit(report_error(error, as_json))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except MemoryError:
        sys.exit(report_error(InfraError("Out of memory.", "use --size small, or a larger machine"), as_json))
    except OSError as error:
        failed = InfraError(
            f"{error.strerror or error}: {error.filename or 'no file named'}.", "run `kforge doctor`"
        )
        sys.exit(report_error(failed, as_json))
    raise AssertionError("typer always exits")
