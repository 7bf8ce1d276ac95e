"""compute-sanitizer over one run of a candidate: out-of-bounds accesses and races that values do not show.

For candidates that are about to be published: the tool slows a run by a factor of ten to a hundred.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kforge.errors import InfraError, MissingPrerequisite
from kforge.eval.sandbox import PACKAGE_ROOT, Limits, run_limited, scrubbed_environment
from kforge.eval.scratch import scratch_directory

Tool = Literal["memcheck", "racecheck", "synccheck"]
TOOLS: tuple[Tool, ...] = ("memcheck", "racecheck", "synccheck")
FOUND = 99
LIMITS = Limits(wall_s=300.0)
_PLACES = ("/usr/local/cuda/bin/compute-sanitizer", "/opt/cuda/bin/compute-sanitizer")
_CHILD = str(Path(__file__).with_name("sanitize_child.py"))
_SUMMARY = re.compile(r"(ERROR|RACECHECK) SUMMARY: .*")
_ENDED = "Target application returned an error"
_FINDING = re.compile(r"^========= (?!COMPUTE-SANITIZER|ERROR SUMMARY|RACECHECK SUMMARY|\s)(.+)$", re.M)


@dataclass(frozen=True, slots=True)
class Sanitized:
    """What one tool said of one run.

    Attributes:
        findings: its first messages; none for a clean run.
    """

    tool: Tool
    clean: bool
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkloadFinding:
    """What one tool said of one workload."""

    workload: str
    tool: Tool
    clean: bool
    findings: tuple[str, ...]


def sanitizer() -> str:
    """Path of the tool.

    Raises:
        MissingPrerequisite: it is not installed.
    """
    found = shutil.which("compute-sanitizer") or next((p for p in _PLACES if Path(p).exists()), None)
    if found is None:
        raise MissingPrerequisite(
            "compute-sanitizer is not installed.", "install NVIDIA's CUDA toolkit, which brings it"
        )
    return found


async def sanitize(
    job: Mapping[str, Any], values: Sequence[Any], tools: Sequence[Tool] = TOOLS
) -> tuple[Sanitized, ...]:
    """Run a plan once under each tool.

    Args:
        job: plan, module, trusted, device_index, sm_count, precision: as a runner is told them.
        values: the given tensors, inputs first.
        tools: of compute-sanitizer.

    Raises:
        MissingPrerequisite: the tool is not installed.
        InfraError: the tool itself failed.
    """
    import torch

    program = sanitizer()
    found = []
    with scratch_directory("kforge-sanitize-") as scratch:
        place = str(Path(scratch) / "values.pt")
        torch.save([value.cpu() for value in values], place)
        told = json.dumps({**job, "values": place}).encode()
        for tool in tools:
            child = await run_limited(
                [
                    program, "--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "10",
                    sys.executable, "-I", "-B", _CHILD, PACKAGE_ROOT,
                ],
                limits=LIMITS,
                stdin=told,
                env={**scrubbed_environment(), "HOME": scratch, "TMPDIR": scratch},
                network_off=False,
                own_processes=False,
            )  # fmt: skip
            found.append(read(tool, child.exit_code, child.stdout.decode(errors="replace")))
    return tuple(found)


def read(tool: Tool, exit_code: int | None, output: str) -> Sanitized:
    """What the tool's output and exit code say. A run that the device ended is a finding of every tool.

    Raises:
        InfraError: they say that it could not look.
    """
    if _SUMMARY.search(output) is not None and _ENDED in output:
        return Sanitized(tool, False, tuple(_FINDING.findall(output))[:10])
    if _SUMMARY.search(output) is None or exit_code not in (0, FOUND):
        raise InfraError(
            f"compute-sanitizer {tool} ended with code {exit_code}: {output.strip()[-500:]}",
            "run it by hand: compute-sanitizer --version",
        )
    return Sanitized(tool, exit_code == 0, tuple(_FINDING.findall(output))[:10])
