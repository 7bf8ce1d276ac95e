"""Runs a candidate's ``plan`` in its throw-away process and validates what comes out."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from kforge.errors import InfraError
from kforge.eval import planning
from kforge.eval.plan import LaunchPlan
from kforge.eval.plan_check import MAX_JSON_BYTES, validate_plan
from kforge.eval.protocol import DEFAULT_PROTOCOL, Protocol
from kforge.eval.sandbox import (
    PACKAGE_ROOT,
    RESULT_FD_PLACEHOLDER,
    ChildResult,
    Limits,
    run_limited,
)
from kforge.types import (
    CandidateSource,
    DeviceInfo,
    InfraFailed,
    Scalar,
    ScreenedOut,
    TimedOut,
    Track,
    WorkloadSpec,
)

PLAN_LIMITS = Limits(
    wall_s=10.0, cpu_s=10.0, memory_bytes=1024**3, file_bytes=0, processes=64, nice=0
)  # fmt: skip
_CHILD = str(Path(planning.__file__).with_name("child.py"))
# `k.device` offers what a plan may decide on; the selector and driver are the runner's business.
_DEVICE_FIELDS = (
    "backend", "name", "arch", "sm_count", "max_work_group", "shared_per_sm", "shared_optin", "regs_per_sm",
    "max_cluster", "max_threads_per_sm", "warp_size", "l2_bytes", "memory_bytes", "is_cpu",
)  # fmt: skip


class _Failure(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    type: str
    message: str
    line: int | None


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    plan: dict[str, JsonValue] | None = None
    invalid_variant: str | None = None
    error: _Failure | None = None


async def plan_candidate(
    source: CandidateSource,
    tune: Mapping[str, Scalar],
    workload: WorkloadSpec,
    device: DeviceInfo,
    track: Track,
    *,
    python: str = sys.executable,
    limits: Limits = PLAN_LIMITS,
    protocol: Protocol = DEFAULT_PROTOCOL,
) -> LaunchPlan | ScreenedOut | TimedOut | InfraFailed:
    """The validated launch plan of one variant for one workload, or why there is none.

    Args:
        source: the parsed candidate.
        tune: one value per name of its ``TUNE``.
        workload: names and shapes; no values go into the process.
        device: what ``k.device`` shows, and the bounds of the plan.
        track: ``pure`` forbids library operators.
        python: interpreter of the throw-away process.
        limits: bounds of that process.
        protocol: which defences are on.
    """
    if source.language != device.language:
        return ScreenedOut(
            f"the candidate is written in {source.language}; the device {device.name} runs {device.language}",
            "language",
        )
    nonce = secrets.token_hex(16)
    visible = asdict(device)
    job = {
        "nonce": nonce,
        "text": source.text,
        "language": source.language,
        "tune": dict(tune),
        "workload": asdict(workload),
        "device": {name: visible[name] for name in _DEVICE_FIELDS},
        "confined": protocol.has("plan_process"),
    }
    bounded = limits if protocol.has("limits") else Limits(wall_s=limits.wall_s)

    try:
        ended = await _run(job, bounded, python, confined=protocol.has("plan_process"))
        if ended.signal == signal.SIGKILL and not ended.timed_out:
            # Somebody else may have killed it; twice is the plan's own doing.
            ended = await _run(job, bounded, python, confined=protocol.has("plan_process"))
    except InfraError as error:
        return InfraFailed(f"{error.message}; {error.next_step}")
    plan = _read(ended, nonce, limits)
    if not isinstance(plan, str):
        return plan
    return validate_plan(plan, workload, device, track, protocol)


async def _run(job: Mapping[str, object], limits: Limits, python: str, *, confined: bool) -> ChildResult:
    return await run_limited(
        [python, "-I", "-S", "-B", _CHILD, PACKAGE_ROOT, RESULT_FD_PLACEHOLDER],
        limits=limits,
        stdin=json.dumps(job).encode(),
        network_off=confined,
        own_processes=confined,
        result_bytes=2 * MAX_JSON_BYTES,
        python=python,
    )


def _read(ended: ChildResult, nonce: str, limits: Limits) -> str | ScreenedOut | TimedOut | InfraFailed:
    """The plan as JSON, or what the planning process says or shows in its place."""
    document = _document(ended, nonce)
    if document is None:
        return _no_document(ended, nonce, limits)
    try:
        reply = _Reply.model_validate_json(document)
    except ValidationError:
        return ScreenedOut("the planning process left something that is no plan", "plan_form")
    if reply.error is not None:
        where = "" if reply.error.line is None else f"line {reply.error.line}: "
        # A PlanError is our own wording; anything else is named by its type.
        kind = "" if reply.error.type == "PlanError" else f"{reply.error.type[:100]}: "
        return ScreenedOut(f"plan() failed: {where}{kind}{reply.error.message[:1000]}", "plan")
    if reply.invalid_variant is not None:
        return ScreenedOut(f"valid() refuses this TUNE choice: {reply.invalid_variant[:1000]}", "variant")
    if reply.plan is None:
        return ScreenedOut("the planning process left no plan", "plan")
    return json.dumps(reply.plan)


def _document(ended: ChildResult, nonce: str) -> bytes | None:
    """The child's own frame; whatever else was written to the descriptor is no frame and is ignored."""
    marker = f"\n{nonce} ".encode()
    at = ended.result.rfind(marker)
    if at < 0 or ended.timed_out or ended.result_cut:
        return None
    return ended.result[at + len(marker) :].split(b"\n", 1)[0]


def _no_document(ended: ChildResult, nonce: str, limits: Limits) -> ScreenedOut | TimedOut | InfraFailed:
    if ended.timed_out or ended.signal == signal.SIGXCPU:
        return TimedOut(f"plan() did not end within {limits.wall_s:g} s", "plan", limits.wall_s)
    if ended.result_cut:
        return ScreenedOut("plan() wrote megabytes to its result channel", "plan")
    if b"MemoryError" in ended.stderr:
        return ScreenedOut("plan() ran out of memory", "plan")
    how = f"signal {ended.signal}" if ended.signal is not None else f"exit code {ended.exit_code}"
    if not ended.result.startswith(f"{nonce} begins\n".encode()):
        tail = ended.stderr.decode(errors="replace")[-500:]
        return InfraFailed(f"the planning process did not start ({how}): {tail}")
    return ScreenedOut(f"plan() ended its process ({how}) before it returned a plan", "plan")
