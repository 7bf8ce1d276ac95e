"""Options that several commands share, each with one help text."""

from __future__ import annotations

from typing import Annotated

import typer

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
        "For eval also sm_80, sm_89 or sm_90a: sealed CUDA is built for it and not run.",
    ),
]
TrackOption = Annotated[
    str,
    typer.Option(
        "--track", metavar="T", help="sealed (library operators allowed) or pure (own kernels only)."
    ),
]
EvalTrackOption = Annotated[
    str,
    typer.Option(
        "--track",
        metavar="T",
        help="sealed (library operators allowed), pure (own kernels only), or open (a published ModelNew "
        "with whatever it brings, unchanged; docs/open-track.md).",
    ),
]
RequireSandboxOption = Annotated[
    bool,
    typer.Option(
        "--require-sandbox", help="Refuse to run the candidate where a layer of its sandbox is missing."
    ),
]
SanitizeOption = Annotated[
    bool,
    typer.Option(
        "--sanitize",
        help="Run a sealed CUDA candidate that passed under NVIDIA's compute-sanitizer too (minutes).",
    ),
]
RecordOption = Annotated[
    bool,
    typer.Option("--record", help="Sample until the speedup is known to 0.3 %, in place of 1 %."),
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


def chosen_store(option: str | None) -> str:
    """URL of the store: the option, else ``KFORGE_STORE``, else the default of this user."""
    from kforge.config import places

    return places().store_url if option is None else option
