"""The open track's part of the measuring process: its verifier, its requests, its answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kforge.clock import SystemClock, secret_seed
from kforge.codec import from_json, to_dict
from kforge.eval.open.request import OpenMeasured, OpenRequest
from kforge.eval.protocol import DEFAULT_PROTOCOL
from kforge.open_types import OpenSource
from kforge.types import DeviceInfo, Outcome, TaskDescription

if TYPE_CHECKING:
    from kforge.data.tasks.loader import LoadedTask
    from kforge.eval.open.verifier import OpenVerifier


def open_verifier(
    loaded: LoadedTask, description: TaskDescription, device: DeviceInfo, prepared: Mapping[str, Any]
) -> OpenVerifier:
    """The verifier of the open track.

    Args:
        loaded: the task.
        description: its shapes.
        device: where candidates run.
        prepared: what the device's runners are told, and the task's words.
    """
    from kforge.eval.open.verifier import OpenVerifier

    job = {"threads": len(os.sched_getaffinity(0)), "device_index": None} | dict(prepared)
    return OpenVerifier(
        loaded, description, device,
        job=job, clock=SystemClock(), seeds=secret_seed, protocol=DEFAULT_PROTOCOL,
    )  # fmt: skip


def measure_open(
    verifier: OpenVerifier, request: Mapping[str, Any], on_stage: Callable[[str], None]
) -> dict[str, Any]:
    """Measure one open candidate; the answer as plain data, without its seconds.

    Args:
        verifier: made by ``open_verifier``.
        request: "source", "extensions", "require_sandbox".
        on_stage: as for ``Verifier.measure``.

    Raises:
        MissingPrerequisite: a layer of the sandbox is missing and was required.
        InfraError: something of kforge itself failed.
    """
    source = from_json(OpenSource, json.dumps(request["source"]))
    asked = OpenRequest(source, dict(request["extensions"]), bool(request["require_sandbox"]))
    return answer_of(verifier.measure(asked, on_stage))


def answer_of(measured: OpenMeasured) -> dict[str, Any]:
    """What the driver gets; ``kforge.workers.open_track`` reads it."""
    return {
        "outcome": None if measured.outcome is None else to_dict(measured.outcome, Outcome),
        "layers": dict(measured.layers),
        "missing": [call.to_json() for call in measured.missing],
    }
