"""From a candidate to the files of its export: plans bound, device code compiled, everything put together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kforge import __version__
from kforge.codec import to_dict
from kforge.data.tasks.declared import Overrides, declared
from kforge.data.tasks.registry import TaskFile, parse_source
from kforge.errors import InfraError, UsageError
from kforge.eval.pipeline import build_candidate
from kforge.export.folder import MARK, digests, runtime_files, write_folder
from kforge.export.origin import Origin
from kforge.export.readme import init_text, readme_text
from kforge.export.reference_source import at_size, changes_model
from kforge.types import Built, DeviceInfo, InfraFailed, TaskDescription, Track, WorkloadSpec

IMAGES = {"cuda": "kernels.cubin", "sycl": "kernels.syclbin"}
SOURCES = {"cuda": "device_code.cu", "sycl": "device_code.cpp"}
_STATISTICS = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Exported:
    """A written folder.

    Attributes:
        provenance: what ``export.json`` says.
        left_out: workloads that are not in it, because their constants change the model itself.
        notes: what a user has to know about this kernel.
    """

    folder: Path
    provenance: Mapping[str, Any]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def export_candidate(
    origin: Origin,
    task: TaskFile,
    description: TaskDescription,
    *,
    device: DeviceInfo,
    track: Track,
    cache_dir: Path,
    folder: Path,
    now: datetime,
) -> Exported:
    """Build a candidate for a device and write its folder; nothing of it runs.

    Args:
        origin: the candidate and what is known of it.
        task: that it was written for.
        description: of the task at the size to export.
        device: to build for; it need not be here.
        track: whether plans may use library operators.
        cache_dir: of builds.
        folder: to write, as ``checked_folder`` allowed it.
        now: date of the export.

    Raises:
        UsageError: it cannot be built for this device, or the folder cannot be written.
        InfraError: kforge failed.
    """
    _require_supported(device)
    built = _build(origin, description, device, track, cache_dir)
    facts = declared(parse_source(task.source, task.path), task.path)
    kept, left_out = _workloads(task, description, facts.sizes[description.size], facts.workloads)
    constants = {**facts.sizes[description.size], **facts.workloads[kept[0].name]}
    plans = {
        "device": to_dict(device),
        "workloads": [
            _planned(w, built, {} if w is kept[0] else facts.workloads[w.name]) for w in kept
        ],
    }  # fmt: skip
    files = runtime_files(device.language)
    files |= {
        "reference.py": at_size(task.source, constants, description.size).encode(),
        "candidate.py": origin.source.text.encode(),
        SOURCES[device.language]: origin.source.device_code.encode(),
        IMAGES[device.language]: Path(built.module_path).read_bytes(),
        "plan.json": json.dumps(plans, separators=(",", ":")).encode(),
    }
    provenance = _provenance(origin, description, device, built=built, names=[w.name for w in kept], now=now)
    notes = _notes(kept, left_out, built, origin)
    files["__init__.py"] = init_text(provenance).encode()
    files["README.md"] = readme_text(folder.name, provenance, notes).encode()
    provenance["sha256"] = digests(files)
    files[MARK] = (json.dumps(provenance, indent=2) + "\n").encode()
    write_folder(folder, files)
    return Exported(folder, provenance, left_out, notes)


def _require_supported(device: DeviceInfo) -> None:
    if device.language == "sycl" and (device.backend, device.is_cpu) != ("opencl", True):
        raise UsageError(
            f"SYCL exports run on torch's CPU tensors, through the OpenCL CPU device; {device.selector} "
            f"({device.name}) is another kind of device, on which no export was ever tried.",
            "use --device cpu",
        )


def _build(
    origin: Origin, description: TaskDescription, device: DeviceInfo, track: Track, cache_dir: Path
) -> Built:
    work = build_candidate(
        origin.source, origin.tune, description, device=device, track=track, cache_dir=cache_dir
    )
    match asyncio.run(work):
        case Built() as built:
            return built
        case InfraFailed(reason=reason):
            raise InfraError(f"The candidate could not be built: {reason}", "run `kforge doctor`")
        case rejected:
            raise UsageError(
                f"The candidate does not build for {device.name} ({device.arch}): {rejected.reason}",
                "choose another --device, or another candidate",
            )


def _workloads(
    task: TaskFile,
    description: TaskDescription,
    size: Overrides,
    declared_workloads: Mapping[str, Overrides],
) -> tuple[list[WorkloadSpec], tuple[str, ...]]:
    """The workloads that one reference file can serve, and the names of the others."""
    source = at_size(
        task.source, {**size, **declared_workloads[description.workloads[0].name]}, description.size
    )
    kept, left_out = [description.workloads[0]], []
    for workload in description.workloads[1:]:
        if changes_model(source, declared_workloads[workload.name]):
            left_out.append(workload.name)
        else:
            kept.append(workload)
    return kept, tuple(left_out)


def _planned(workload: WorkloadSpec, built: Built, overrides: Overrides) -> dict[str, Any]:
    """One workload's entry in ``plan.json``."""
    described = to_dict(workload)
    fields = ("name", "init", "inputs", "parameters", "buffers", "returns_tuple")
    return {
        **{name: described[name] for name in fields},
        "overrides": dict(overrides),
        **json.loads(built.plans[workload.name]),
    }


def _provenance(
    origin: Origin,
    description: TaskDescription,
    device: DeviceInfo,
    *,
    built: Built,
    names: list[str],
    now: datetime,
) -> dict[str, Any]:
    passed = origin.measured
    return {
        "kforge": __version__,
        "exported": f"{now:%Y-%m-%d}",
        "task": description.id,
        "task_hash": description.hash,
        "size": description.size,
        "workloads": names,
        "run": origin.run,
        "candidate": origin.ordinal,
        "candidate_hash": origin.source.hash,
        "tune": dict(origin.tune),
        "language": device.language,
        "precision": origin.source.precision,
        "library_ops": list(built.library_ops),
        "device": device.name,
        "arch": device.arch,
        "driver": device.driver,
        "image": IMAGES[device.language],
        "measured": None
        if passed is None
        else {
            "speedup": passed.speedup,
            "speedup_interval": [passed.speedup_low, passed.speedup_high],
            "verdict": passed.verdict,
            "latency_us": passed.latency_us,
            "baseline_us": passed.baseline_us,
            "device": origin.device.name if origin.device else None,
        },
    }


def _notes(
    kept: list[WorkloadSpec], left_out: tuple[str, ...], built: Built, origin: Origin
) -> tuple[str, ...]:
    notes = []
    if left_out:
        notes.append(f"left out, since its constants change the model itself: workload {', '.join(left_out)}")
    if any(name.name.endswith(_STATISTICS) for name in kept[0].buffers):
        notes.append("in training mode the kernels leave running statistics as they are; Model updates them")
    if built.library_ops:
        precision = "off" if origin.source.precision == "ieee" else "on"
        notes.append(
            f"{', '.join(built.library_ops)}: torch's operators, under the TF32 switches of your process; "
            f"it was measured with TF32 {precision}"
        )
    return tuple(notes)
