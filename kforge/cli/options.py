"""Options that several commands share, each with one help text."""

from __future__ import annotations

from typing import Annotated

import typer

from kforge.errors import UsageError
from kforge.types import Track

TaskOption = Annotated[
    str,
    typer.Option(
        "--task", "-t", metavar="TASK", help="Task id such as kb/L2/17, or a file such as ./mine.py."
    ),
]
SizeOption = Annotated[
    str, typer.Option("--size", metavar="SIZE", help="full, small, or another size that the task defines.")
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="D", help="auto, cpu, gpu, or a selector that `kforge doctor` lists."),
]
TrackOption = Annotated[
    str,
    typer.Option(
        "--track", metavar="T", help="sealed (library operators allowed) or pure (own kernels only)."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Store URL or SQLite file. Default: $KFORGE_STORE, else your data directory.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON document to stdout.")]


def checked_track(track: str) -> Track:
    """The track, or a usage error naming those that exist.

    Raises:
        UsageError: no such track in this version.
    """
    if track == "sealed":
        return "sealed"
    if track == "pure":
        return "pure"
    raise UsageError(
        f"--track {track!r} is not a track of this version.", "use --track sealed or --track pure"
    )
