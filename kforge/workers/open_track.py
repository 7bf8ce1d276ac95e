"""One open candidate: its extensions built on this side, then measured in a process of its own, alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kforge.codec import from_json, to_dict
from kforge.errors import InfraError
from kforge.eval.open.extensions import BuiltExtension, ExtensionCall, ExtensionsBuilt, build, read_call
from kforge.eval.open.request import OpenMeasured
from kforge.eval.open.triton_access import refuse_without_triton
from kforge.open_types import OpenSource
from kforge.types import BuildFailed, DeviceInfo, InfraFailed, Outcome, StageSeconds, TimedOut
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
    device: DeviceInfo
    cache_dir: Path
    user_dir: Path | None
    require_sandbox: bool


async def evaluate_open_once(
    source: OpenSource,
    task: str,
    size: str,
    *,
    device: DeviceInfo,
    cache_dir: Path,
    user_dir: Path | None,
    require_sandbox: bool,
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

    Raises:
        KforgeError: task, prerequisite (a required layer of the sandbox included) or infrastructure failed.
    """
    started = time.monotonic()
    refused = refuse_without_triton(source.text)
    if refused is not None:
        return OpenEvaluated(refused)
    job = _Job(source, task, size, device, cache_dir, user_dir, require_sandbox)
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
    for _ in range(MAX_ROUNDS):
        began = time.monotonic()
        built = await _build(job, more)
        build_s += time.monotonic() - began
        if not isinstance(built, ExtensionsBuilt):
            seconds = StageSeconds(build=build_s, total=time.monotonic() - started)
            return OpenEvaluated(scored(built), told, kept, seconds)
        kept = _first_seen(kept, built.extensions)
        measured, stages = await measuring.measure(built.paths())
        told = measured.layers
        if measured.outcome is not None:
            total = time.monotonic() - started
            seconds = StageSeconds(build_s, stages.check, stages.bench, total)
            return OpenEvaluated(scored(measured.outcome), told, kept, seconds)
        more = (*more, *measured.missing)
    reason = f"the candidate asked for further extensions at each of {MAX_ROUNDS} starts"
    seconds = StageSeconds(build=build_s, total=time.monotonic() - started)
    return OpenEvaluated(BuildFailed(reason, ""), told, kept, seconds)


async def _build(
    job: _Job, more: tuple[ExtensionCall, ...]
) -> ExtensionsBuilt | BuildFailed | TimedOut | InfraFailed:
    arch = None if job.device.is_cpu else job.device.arch
    return await build(job.source.text, device_arch=arch, cache_dir=job.cache_dir, more=more)


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

    async def measure(self, extensions: Mapping[str, str]) -> tuple[OpenMeasured, StageSeconds]:
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
        return read_answer(answer), from_json(StageSeconds, json.dumps(answer["seconds"]))

    async def _open(self) -> None:
        job = self._job
        request = {
            "do": "open", "track": "open", "task": job.task, "size": job.size,
            "device": to_dict(job.device), "cache_dir": str(job.cache_dir),
            "user_dir": str(job.user_dir) if job.user_dir else None,
        }  # fmt: skip
        await self._process.start()
        try:
            await self._process.ask(request, OPEN_LIMIT_S)
        except WorkerLost as error:
            raise lost_while_loading(job.task, error) from error

    async def close(self) -> None:
        """End the process and everything below it."""
        await self._process.kill()


def read_answer(answer: Mapping[str, Any]) -> OpenMeasured:
    """What ``kforge.eval.open.worker_requests`` wrote.

    Raises:
        InfraError: it says neither how the candidate ended nor what it lacks.
    """
    told, missing = answer["outcome"], tuple(read_call(json.dumps(call)) for call in answer["missing"])
    if told is None and not missing:
        raise InfraError(
            "The measuring process gave neither an outcome nor missing extensions.",
            "this is a bug in kforge: report the candidate",
        )
    outcome: Any = None if told is None else from_json(Outcome, json.dumps(told))  # type: ignore[arg-type]
    return OpenMeasured(outcome, dict(answer["layers"]), missing)
