"""One open candidate: its extensions built on this side, then measured in a process of its own, alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kforge.codec import from_json, to_dict
from kforge.errors import InfraError
from kforge.eval.open.extensions import (
    TOTAL_S,
    BuiltExtension,
    ExtensionCall,
    ExtensionsBuilt,
    build,
    read_call,
)
from kforge.eval.open.triton_access import refuse_without_triton
from kforge.open_types import OpenDevice, OpenReport, OpenSource
from kforge.types import BuildFailed, DeviceInfo, InfraFailed, Outcome, Quality, StageSeconds, TimedOut
from kforge.workers.local import MEASURE_LIMIT_S, OPEN_LIMIT_S, lost_while_loading, scored
from kforge.workers.measuring import MeasuringProcess, WorkerLost

# A candidate that asks for another extension at every start never runs.
MAX_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class OpenEvaluated:
    """How an open candidate ended.

    Attributes:
        layers: of the sandbox it ran in, by name; empty where none was started.
        extensions: that were built for it, or taken from the cache.
    """

    outcome: Outcome
    layers: Mapping[str, bool] = field(default_factory=dict)
    extensions: tuple[BuiltExtension, ...] = ()
    seconds: StageSeconds = field(default_factory=StageSeconds)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is measured, where: the arguments of ``evaluate_open_once``."""

    source: OpenSource
    task: str
    size: str
    device: OpenDevice
    cache_dir: Path
    user_dir: Path | None
    require_sandbox: bool
    quality: Quality


async def evaluate_open_once(
    source: OpenSource,
    task: str,
    size: str,
    *,
    device: OpenDevice,
    cache_dir: Path,
    user_dir: Path | None,
    require_sandbox: bool,
    quality: Quality = "screen",
) -> OpenEvaluated:
    """Build its extensions and measure one open candidate.

    What it asks for only while it runs is built then, and it is started again.

    Args:
        source: the candidate.
        task: id or file of the task.
        size: of the task.
        device: where it runs.
        cache_dir: kforge's build cache.
        user_dir: the user's own tasks.
        require_sandbox: refuse to run it where a layer of the sandbox is missing.
        quality: how well its speedup is to be known.

    Raises:
        KforgeError: task, prerequisite (a required layer of the sandbox included) or infrastructure failed.
    """
    started = time.monotonic()
    refused = refuse_without_triton(source.text)
    if refused is not None:
        return OpenEvaluated(refused)
    job = _Job(source, task, size, device, cache_dir, user_dir, require_sandbox, quality)
    measuring = _Measuring(job)
    try:
        return await _rounds(job, measuring, started)
    finally:
        await measuring.close()


async def _rounds(job: _Job, measuring: _Measuring, started: float) -> OpenEvaluated:
    more: tuple[ExtensionCall, ...] = ()
    build_s = 0.0
    told: Mapping[str, bool] = {}
    kept: tuple[BuiltExtension, ...] = ()
    stages = StageSeconds()

    def ended(outcome: Outcome) -> OpenEvaluated:
        total = time.monotonic() - started
        return OpenEvaluated(outcome, told, kept, StageSeconds(build_s, stages.check, stages.bench, total))

    for _ in range(MAX_ROUNDS):
        began = time.monotonic()
        built = await _build(job, more, TOTAL_S - build_s)
        build_s += time.monotonic() - began
        if not isinstance(built, ExtensionsBuilt):
            return ended(scored(built))
        kept = _first_seen(kept, built.extensions)
        report = await measuring.measure(built.paths())
        told, stages = report.sandbox, report.seconds
        if not report.missing:
            return ended(scored(report.outcome))
        try:
            more = (*more, *(read_call(call) for call in report.missing))
        except ValueError:
            # The candidate's own process wrote it.
            return ended(BuildFailed("what the candidate asked for is no extension call", ""))
    return ended(
        BuildFailed(f"the candidate asked for further extensions at each of {MAX_ROUNDS} starts", "")
    )


async def _build(
    job: _Job, more: tuple[ExtensionCall, ...], left_s: float
) -> ExtensionsBuilt | BuildFailed | TimedOut | InfraFailed:
    if left_s <= 0:
        return TimedOut(f"the extensions did not build within {TOTAL_S:g} s", "build", TOTAL_S)
    arch = job.device.arch if isinstance(job.device, DeviceInfo) else None
    return await build(
        job.source.text, device_arch=arch, cache_dir=job.cache_dir, more=more, total_s=round(left_s, 1)
    )


def _first_seen(
    kept: tuple[BuiltExtension, ...], built: tuple[BuiltExtension, ...]
) -> tuple[BuiltExtension, ...]:
    """Each extension as it was first met: a later round finds it in the cache, which is no news."""
    known = {extension.call for extension in kept}
    return (*kept, *(extension for extension in built if extension.call not in known))


class _Measuring:
    """The measuring process, started when it is first needed: builds come before the device is touched."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._process = MeasuringProcess()

    async def measure(self, extensions: Mapping[str, str]) -> OpenReport:
        """One start of the candidate.

        Raises:
            KforgeError: as ``evaluate_open_once``.
        """
        if not self._process.alive:
            await self._open()
        job = self._job
        request = {
            "do": "measure_open", "source": to_dict(job.source), "extensions": dict(extensions),
            "require_sandbox": job.require_sandbox,
        }  # fmt: skip
        try:
            answer = await self._process.ask(request, MEASURE_LIMIT_S)
        except WorkerLost as lost:
            raise InfraError(
                f"The evaluation could not be made: the measuring process was lost: {lost}.",
                "run `kforge doctor`, then try again",
            ) from lost
        return from_json(OpenReport, json.dumps(answer))

    async def _open(self) -> None:
        job = self._job
        request = {
            "do": "open", "track": "open", "task": job.task, "size": job.size,
            "device": to_dict(job.device), "cache_dir": str(job.cache_dir),
            "user_dir": str(job.user_dir) if job.user_dir else None, "quality": job.quality,
        }  # fmt: skip
        await self._process.start()
        try:
            await self._process.ask(request, OPEN_LIMIT_S)
        except WorkerLost as error:
            raise lost_while_loading(job.task, error) from error

    async def close(self) -> None:
        """End the process and everything below it."""
        await self._process.kill()
