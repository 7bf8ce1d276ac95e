"""The process that checks one task: a JSON request on stdin, a JSON verdict on the result descriptor.

Started as ``python -m kforge.eval.admission_child`` under a deadline; it limits its own memory once torch is
loaded, so that the limit is the task's and not the library's.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from pathlib import Path

from kforge.codec import from_json, to_json
from kforge.data.verdicts import AdmissionVerdict, Checked, Unchecked
from kforge.errors import KforgeError
from kforge.eval.admission_request import SHRUNK, CheckRequest
from kforge.eval.sandbox import RESULT_FD_VARIABLE


def main() -> None:
    """Serve one request."""
    request = from_json(CheckRequest, sys.stdin.buffer.read())
    started = time.monotonic()
    verdict: AdmissionVerdict
    try:
        verdict = _check(request, started)
    except KforgeError as error:
        verdict = Unchecked(_reason(str(error.message), request), time.monotonic() - started)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        verdict = Unchecked(_reason("can't allocate memory", request), time.monotonic() - started)
    os.write(int(os.environ[RESULT_FD_VARIABLE]), to_json(verdict).encode())


def _check(request: CheckRequest, started: float) -> Checked:
    import torch

    from kforge.data.tasks.loader import load_task
    from kforge.data.tasks.registry import resolve
    from kforge.eval.admission import check_workloads, checked_workload
    from kforge.eval.admission_shrink import KERNELBENCH_RULE, ShrinkRule, shrink

    torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)  # for references that draw while they run: dropout in training mode
    task = resolve(request.task, None if request.user_dir is None else Path(request.user_dir))
    _limit_memory(request.memory_bytes)
    loaded = load_task(task, "full" if request.size == SHRUNK else request.size)
    secret = random.Random(request.seed)
    if request.size != SHRUNK:
        described = [checked_workload(workload, {}, "both") for workload in loaded.workloads]
        return Checked(check_workloads(loaded.workloads, secret), tuple(described), "", _since(started))
    rule = ShrinkRule()
    small = [shrink(workload, rule) for workload in loaded.workloads]
    large = [shrink(workload, KERNELBENCH_RULE) for workload in loaded.workloads]
    findings = check_workloads([w for w, _ in small], secret, [w for w, _ in large])
    described = [
        checked_workload(*cut, "both" if cut[1] == other[1] else "kforge")
        for cut, other in zip(small, large, strict=True)
    ] + [
        checked_workload(*cut, "KernelBench")
        for cut, other in zip(large, small, strict=True)
        if cut[1] != other[1]
    ]
    return Checked(findings, tuple(described), rule.words(), _since(started))


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _limit_memory(memory_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )


def _reason(message: str, request: CheckRequest) -> str:
    if "allocate memory" in message:
        return f"it needs more than {request.memory_bytes / (1 << 30):g} GiB of memory at size {request.size}"
    return message


if __name__ == "__main__":
    main()
