"""A sealed CUDA candidate under compute-sanitizer, workload by workload: the measuring process's request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from kforge.clock import secret_seed
from kforge.eval.sanitize import WorkloadFinding, sanitize
from kforge.eval.workbench import Workbench
from kforge.types import Built, DeviceInfo, Precision, TaskDescription

if TYPE_CHECKING:
    from kforge.data.tasks.loader import LoadedTask


def sanitize_workloads(
    loaded: LoadedTask,
    description: TaskDescription,
    device: DeviceInfo,
    *,
    job: Mapping[str, Any],
    built: Built,
    precision: Precision,
) -> list[WorkloadFinding]:
    """Run each workload once under each tool, on fresh values.

    Args:
        loaded: the task.
        description: its shapes.
        device: a CUDA card.
        job: what the card's runners are told.
        built: a candidate that passed.
        precision: its declared precision.

    Raises:
        MissingPrerequisite: compute-sanitizer is not installed.
        InfraError: the tool itself failed.
    """
    card = torch.device("cuda", int(job["device_index"]))
    found: list[WorkloadFinding] = []
    for workload, spec in zip(loaded.workloads, description.workloads, strict=True):
        bench = Workbench(workload, spec, secret_seed, card)
        told = {
            **job, "plan": json.loads(built.plans[spec.name]), "module": built.module_path,
            "sm_count": device.sm_count, "precision": precision, "off": [],
        }  # fmt: skip
        values = bench.draw("own").given(bench.state_names)
        found += [
            WorkloadFinding(spec.name, said.tool, said.clean, said.findings)
            for said in asyncio.run(sanitize(told, values))
        ]
    return found
