"""The open track's part of the measuring process: its verifier, its requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kforge.clock import SystemClock, secret_seed
from kforge.codec import from_json
from kforge.eval.open.triton_access import triton_access, triton_environment, uses_triton
from kforge.eval.protocol import Protocol
from kforge.open_types import OpenDevice, OpenSource

if TYPE_CHECKING:
    from kforge.data.tasks.loader import LoadedTask
    from kforge.eval.open.verifier import OpenMeasured, OpenVerifier
    from kforge.types import TaskDescription

# In a variable of a candidate's environment: its own directory, which is made when it is started.
_SCRATCH = Path("{scratch}")


def open_verifier(
    loaded: LoadedTask,
    description: TaskDescription,
    device: OpenDevice,
    job: Mapping[str, Any],
    protocol: Protocol,
) -> OpenVerifier:
    """The verifier of the open track.

    Args:
        loaded: the task.
        description: its shapes.
        device: where candidates run.
        job: what trusted processes are told: the task's words, and the card's.
        protocol: limits and sample counts.
    """
    from kforge.eval.open.verifier import OpenVerifier

    return OpenVerifier(
        loaded, description, device,
        job=job, clock=SystemClock(), seeds=secret_seed, protocol=protocol,
    )  # fmt: skip


def measure_open(
    verifier: OpenVerifier, request: Mapping[str, Any], on_stage: Callable[[str], None]
) -> OpenMeasured:
    """Measure one open candidate; one that imports Triton may reach what that compiles with.

    Args:
        verifier: made by ``open_verifier``.
        request: "source", "extensions", "require_sandbox".
        on_stage: as for ``OpenVerifier.measure``.

    Raises:
        MissingPrerequisite: a layer of the sandbox is missing and was required, or Triton's compiler.
        InfraError: something of kforge itself failed.
    """
    source = from_json(OpenSource, json.dumps(request["source"]))
    triton = uses_triton(source.text)
    return verifier.measure(
        source,
        dict(request["extensions"]),
        on_stage,
        require_sandbox=bool(request["require_sandbox"]),
        readable=triton_access().read if triton else (),
        variables=triton_environment(_SCRATCH) if triton else None,
    )
