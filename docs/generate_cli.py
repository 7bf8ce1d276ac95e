"""Write docs/cli.md from the commands' own help: ``python docs/generate_cli.py > docs/cli.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from kforge.cli import app

HEAD = """\
# Command line reference

Made from the commands' own help by `python docs/generate_cli.py > docs/cli.md`; a test checks that it is
current.

Every command writes its result to stdout and progress and errors to stderr. With `--json` stdout gets exactly
one JSON document, after a failure `{"error": {"code", "message", "next"}}`.

| exit code | meaning |
|---|---|
| 0 | done; for `kforge eval`: the candidate passed |
| 1 | `kforge eval`: the candidate was rejected; `kforge export`: what was written failed its checks |
| 2 | wrong usage, or something is missing; the message says what to type next |
| 3 | infrastructure failed: no device of the asked kind, store, disk |
| 130 | ended by Ctrl-C; a search that has begun drains instead and exits 0 |
| 141 | the reader of stdout has gone |

| variable | meaning |
|---|---|
| `KFORGE_HOME` | your tasks and the default store; else `$XDG_DATA_HOME/kforge` or `~/.local/share/kforge` |
| `KFORGE_CACHE` | builds, safe to delete; else `$XDG_CACHE_HOME/kforge` or `~/.cache/kforge` |
| `KFORGE_STORE` | URL of the default store; else `kforge.sqlite` in the data directory |
| `OPENAI_API_KEY`, `OPENAI_BASE_URL` | key and address for `--model openai:...` ([models.md](models.md)) |
| `VLLM_API_KEY` | key for `--model vllm:...`, if the server wants one |
| `KFORGE_DEBUG` | `1` shows the traceback of a bug in kforge |
"""


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer has no public name for it
    """Every command below ``command`` that does something, with its full name."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


def section(path: str, command: Any) -> str:  # noqa: ANN401
    """One command as Markdown."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    synopsis = " ".join([path, *(p.metavar for p in arguments), "[OPTIONS]"])
    paragraphs = [" ".join(part.split()) for part in command.help.split("\n\n")]
    rows = [f"| `{p.metavar}` | {p.help} |" for p in arguments]
    rows += [
        f"| `{', '.join(p.opts)}{f' {p.metavar}' if p.metavar else ''}` | {described(p)} |" for p in options
    ]
    return "\n".join(
        [f"## {path}", "", f"    {synopsis}", "", "\n\n".join(paragraphs), "", "| | |", "|---|---|", *rows]
    )


def described(option: Any) -> str:  # noqa: ANN401
    """Help of an option, with its default where there is one to know."""
    if option.required:
        return f"{option.help} Required."
    if option.default is None or option.default is False:
        return str(option.help)
    return f"{option.help} Default: `{option.default}`."


def page() -> str:
    """The whole page."""
    return (
        "\n\n".join([HEAD.rstrip(), *(section(*found) for found in commands(get_command(app), "kforge"))])
        + "\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
