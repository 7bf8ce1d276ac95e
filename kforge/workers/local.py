"""The ``local`` pool: build children and one measuring process per device, all children of the driver."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kforge.codec import from_json, to_dict
from kforge.errors import InfraError, TaskError
from kforge.eval.pipeline import build_candidate
from kforge.eval.sanitize import LIMITS as SANITIZE_LIMITS
from kforge.eval.sanitize import TOOLS, WorkloadFinding
from kforge.eval.worker import Opened
from kforge.search.pool import BuildReport, EvaluationRequest, MeasureReport
from kforge.types import (
    Built,
    CandidateSource,
    DeviceInfo,
    InfraFailed,
    Outcome,
    Passed,
    Quality,
    StageSeconds,
    TaskDescription,
    Track,
)
from kforge.workers.measuring import MeasuringProcess, RemoteError, WorkerLost
from kforge.workers.quiet import QuietGate

OPEN_LIMIT_S = 300.0
# Above every limit inside the measuring process, so that only a broken one meets it.
MEASURE_LIMIT_S = 1800.0


class LocalPool:
    """Builds on all cores but one, measures on one device, one candidate at a time.

    Make it with ``await LocalPool.open(...)``.
    """

    def __init__(
        self,
        opened: Opened,
        device: DeviceInfo,
        cache_dir: Path,
        request: dict[str, Any],
        build_slots: int,
    ) -> None:
        self.task = opened.task
        self.ceilings = opened.ceilings
        self.device = device
        self._cache_dir = cache_dir
        self._open_request = request
        self._build_slots = build_slots
        self._builds = asyncio.Semaphore(build_slots)
        self._device_free = asyncio.Lock()
        self._quiet = QuietGate()
        self._worker = MeasuringProcess()
        self._waiting = 0
        self._idle_since: float | None = None
        self._idle_s = 0.0

    @classmethod
    async def open(
        cls,
        task: str,
        size: str,
        device: DeviceInfo,
        cache_dir: Path,
        user_dir: Path | None,
        *,
        quality: Quality = "screen",
    ) -> LocalPool:
        """Start the measuring process, load the task, and be ready.

        Args:
            task: id or file.
            size: of the task.
            device: to measure on.
            cache_dir: kforge's build cache.
            user_dir: the user's own tasks.
            quality: how well speedups are to be known.

        Raises:
            KforgeError: the task cannot be loaded, a prerequisite is missing, or the process cannot start.
        """
        request = {
            "do": "open", "task": task, "size": size, "device": to_dict(device),
            "cache_dir": str(cache_dir), "user_dir": str(user_dir) if user_dir else None,
            "quality": quality,
        }  # fmt: skip
        worker = MeasuringProcess()
        await worker.start()
        try:
            answer = await worker.ask(request, OPEN_LIMIT_S)
        except WorkerLost as error:
            raise lost_while_loading(task, error) from error
        except BaseException:
            await worker.kill()
            raise
        opened = from_json(Opened, json.dumps(answer))
        slots = max(1, (os.cpu_count() or 2) - 1)
        pool = cls(opened, device, cache_dir, request, slots)
        pool._worker = worker
        return pool

    @property
    def in_flight(self) -> int:
        """Candidates that keep builds and device busy: every build slot, one measured, one waiting."""
        return self._build_slots + 2

    async def build(self, request: EvaluationRequest) -> BuildReport:
        """Plan, screen and compile on a build slot."""
        async with self._builds, self._quiet.building():
            started = time.monotonic()
            result = await build_candidate(
                request.source, request.tune, self.task,
                device=self.device, track=request.track, cache_dir=self._cache_dir,
            )  # fmt: skip
            return BuildReport(result, time.monotonic() - started)

    async def measure(self, request: EvaluationRequest, built: Built) -> MeasureReport:
        """Check and bench, alone on the device. A lost process is an ``InfraFailed`` and is replaced."""
        self._waiting += 1
        if self._idle_since is None and not self._device_free.locked():
            self._idle_since = time.monotonic()
        try:
            await self._device_free.acquire()
        finally:
            self._waiting -= 1
        try:
            if not self._worker.alive:
                try:
                    await self._reopen()
                except (WorkerLost, RemoteError) as error:
                    await self._worker.kill()
                    reason = f"the measuring process cannot be started again: {error}"
                    return MeasureReport(InfraFailed(reason), StageSeconds())
            self._end_idle()
            return await self._ask(request, built)
        finally:
            self._device_free.release()
            self._idle_since = time.monotonic() if self._waiting else None

    async def _ask(self, request: EvaluationRequest, built: Built) -> MeasureReport:
        message = {"do": "measure", "built": to_dict(built), "precision": request.source.precision}
        benchmarking = False

        async def on_stage(stage: str) -> None:
            nonlocal benchmarking
            if stage == "bench" and self.device.is_cpu:
                await self._quiet.begin_benchmark()
                benchmarking = True

        try:
            answer = await self._worker.ask(message, MEASURE_LIMIT_S, on_stage)
        except WorkerLost as lost:
            await self._worker.kill()
            return MeasureReport(InfraFailed(f"the measuring process was lost: {lost}"), StageSeconds())
        except RemoteError as error:
            await self._worker.kill()
            return MeasureReport(InfraFailed(error.message), StageSeconds())
        finally:
            if benchmarking:
                await self._quiet.end_benchmark()
        outcome: Any = from_json(Outcome, json.dumps(answer["outcome"]))  # type: ignore[arg-type]
        return MeasureReport(outcome, from_json(StageSeconds, json.dumps(answer["seconds"])))

    async def sanitize(self, source: CandidateSource, built: Built) -> tuple[WorkloadFinding, ...]:
        """What compute-sanitizer says of a candidate that has just passed; CUDA only.

        Raises:
            KforgeError: the tool is missing or failed, or the measuring process was lost.
        """
        message = {"do": "sanitize", "built": to_dict(built), "precision": source.precision}
        limit_s = OPEN_LIMIT_S + len(self.task.workloads) * len(TOOLS) * SANITIZE_LIMITS.wall_s
        async with self._device_free:
            try:
                answer = await self._worker.ask(message, limit_s)
            except WorkerLost as lost:
                raise InfraError(
                    f"The process that ran compute-sanitizer was lost: {lost}.", "leave --sanitize out"
                ) from lost
        return tuple(from_json(WorkloadFinding, json.dumps(row)) for row in answer)

    async def _reopen(self) -> None:
        await self._worker.kill()
        await self._worker.start()
        await self._worker.ask(self._open_request, OPEN_LIMIT_S)

    def _end_idle(self) -> None:
        if self._idle_since is not None:
            self._idle_s += time.monotonic() - self._idle_since
        self._idle_since = None

    def idle_while_queued_s(self) -> float:
        """Seconds during which the device stood idle although a built candidate waited for it."""
        return self._idle_s

    async def close(self) -> None:
        """End the measuring process and everything below it."""
        await self._worker.kill()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One candidate's end: outcome, and its build if it had one.

    Attributes:
        sanitizer: what compute-sanitizer said; None where it was not asked, or the candidate did not pass.
    """

    outcome: Outcome
    built: Built | None
    seconds: StageSeconds = field(default_factory=StageSeconds)
    sanitizer: tuple[WorkloadFinding, ...] | None = None


async def evaluate_once(
    source: CandidateSource,
    task: str,
    size: str,
    *,
    device: DeviceInfo,
    track: Track,
    cache_dir: Path,
    user_dir: Path | None,
    sanitize: bool = False,
    quality: Quality = "screen",
) -> Evaluated:
    """Build and measure one candidate with the first choice of its ``TUNE``.

    With ``sanitize`` a CUDA candidate that passed runs under compute-sanitizer too.

    Raises:
        KforgeError: task, prerequisite or infrastructure failed.
    """
    started = time.monotonic()
    pool = await LocalPool.open(task, size, device, cache_dir, user_dir, quality=quality)
    try:
        request = EvaluationRequest("eval", source, source.first_choice(), track)
        build = await pool.build(request)
        if not isinstance(build.result, Built):
            total = time.monotonic() - started
            return Evaluated(scored(build.result), None, StageSeconds(build=build.seconds, total=total))
        measured = await pool.measure(request, build.result)
        asked = sanitize and isinstance(measured.outcome, Passed)
        sanitizer = await pool.sanitize(source, build.result) if asked else None
    finally:
        await pool.close()
    stages = measured.seconds
    seconds = StageSeconds(build.seconds, stages.check, stages.bench, time.monotonic() - started)
    return Evaluated(scored(measured.outcome), build.result, seconds, sanitizer)


def scored(outcome: Outcome) -> Outcome:
    """An outcome that says something of the candidate.

    Raises:
        InfraError: it does not: kforge itself failed.
    """
    if isinstance(outcome, InfraFailed):
        raise InfraError(
            f"The evaluation could not be made: {outcome.reason}", "run `kforge doctor`, then try again"
        )
    return outcome


def describe_task(task: str, size: str, user_dir: Path | None) -> TaskDescription:
    """Load a task in a process of its own and describe it; the caller imports no torch.

    Raises:
        KforgeError: the task cannot be loaded.
    """

    async def ask() -> TaskDescription:
        worker = MeasuringProcess()
        await worker.start()
        request = {
            "do": "describe",
            "task": task,
            "size": size,
            "user_dir": str(user_dir) if user_dir else None,
        }
        try:
            return from_json(TaskDescription, json.dumps(await worker.ask(request, OPEN_LIMIT_S)))
        except WorkerLost as error:
            raise lost_while_loading(task, error) from error
        finally:
            await worker.kill()

    return asyncio.run(ask())


def lost_while_loading(task: str, error: WorkerLost) -> TaskError:
    """A measuring process that did not survive a task's file."""
    return TaskError(
        f"The process that loaded task {task} was lost: {error}.",
        "does the file loop for ever, exit, or allocate more than this machine has?",
    )
