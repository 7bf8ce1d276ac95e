"""A candidate built and not measured: what a machine without the device can still say of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from kforge.eval.pipeline import build_candidate
from kforge.search.pool import BuildReport
from kforge.types import CandidateSource, DeviceInfo, Track
from kforge.workers.local import describe_task


def build_once(
    source: CandidateSource,
    task: str,
    size: str,
    *,
    target: DeviceInfo,
    track: Track,
    cache_dir: Path,
    user_dir: Path | None,
) -> BuildReport:
    """Plan, screen and compile one candidate for a device that need not be here.

    Raises:
        KforgeError: the task cannot be loaded, or a prerequisite is missing.
    """
    description = describe_task(task, size, user_dir)
    started = time.monotonic()
    result = asyncio.run(
        build_candidate(
            source, source.first_choice(), description, device=target, track=track, cache_dir=cache_dir
        )
    )
    return BuildReport(result, time.monotonic() - started)
