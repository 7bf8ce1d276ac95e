"""Options that several commands share, each with one help text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kforge.errors import MissingPrerequisite, UsageError
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
    typer.Option(
        "--device",
        metavar="D",
        help="auto, cpu, gpu, or a selector that `kforge doctor` lists. "
        "For eval also sm_80, sm_89 or sm_90a: CUDA is built for it and not run.",
    ),
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


def chosen_store(option: str | None) -> str:
    """URL of the store: the option, else ``KFORGE_STORE``, else the default of this user."""
    from kforge.config import places

    return places().store_url if option is None else option


def writable(cache: Path) -> Path:
    """The cache directory, made if it is missing.

    Raises:
        MissingPrerequisite: it cannot be made or written.
    """
    next_step = "export KFORGE_CACHE=/a/writable/directory"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The cache directory {cache} cannot be made: {error.strerror}."
        raise MissingPrerequisite(message, next_step) from error
    if not os.access(cache, os.W_OK | os.X_OK):
        raise MissingPrerequisite(f"The cache directory {cache} is not writable.", next_step)
    return cache
