"""The command line. ``main`` is the console script; commands live in files of their own."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer
from typer.main import get_command

from kforge import __version__
from kforge.cli import bench, doctor, evaluate, evolve, export, report, store, tasks
from kforge.cli.output import Interrupted, bug, open_standard_streams, report_error
from kforge.errors import InfraError, KforgeError, UsageError

# As a shell shows a program that these signals ended.
INTERRUPTED = 130
READER_LEFT = 141

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
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(store.app, name="store")
app.add_typer(bench.app, name="bench")


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
    open_standard_streams()
    as_json = "--json" in sys.argv
    try:
        code = _invoke(sys.argv[1:], as_json)
        sys.stdout.flush()
    except KforgeError as error:
        code = report_error(error, as_json)
    except KeyboardInterrupt:
        code = INTERRUPTED
        report_error(Interrupted("Interrupted.", "type the command again"), as_json)
    except BrokenPipeError:
        code = _reader_left()
    except MemoryError:
        code = report_error(InfraError("Out of memory.", "use --size small, or a larger machine"), as_json)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        failed = InfraError(f"{error.strerror or error}{where}.", "run `kforge doctor`")
        code = report_error(failed, as_json)
    except Exception as error:  # noqa: BLE001 - the border to a person: exit 1 would say "rejected"
        code = report_error(bug(error), as_json)
    try:
        sys.stdout.flush()
    except OSError:
        _reader_left()  # said already, or nobody listens; the interpreter must not try again
    sys.exit(code)


def _invoke(arguments: list[str], as_json: bool) -> int:
    """Parse and run. Typer's own ``main`` is not used: its errors know neither JSON nor our exit codes."""
    try:
        with get_command(app).make_context("kforge", arguments) as context:
            context.command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:") and not as_json:  # a command that does nothing without arguments
            sys.stderr.write(message + "\n")
            return 2
        asked = getattr(error, "ctx", None)
        help_command = f"{asked.command_path if asked else 'kforge'} --help"
        raise UsageError(
            "Give a command." if message.startswith("Usage:") else message, help_command
        ) from None
    return 0


def _reader_left() -> int:
    """Whoever read our output (head, less) has gone: nothing more can be said."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return READER_LEFT
