"""Kernels against the eager model, with the host's launch cost and without: ``python -m FOLDER.timing``.

With: the wall time of calls made one after the other, and one wait at the end. Without: on CUDA the device
time of a replayed CUDA graph of one call; on a CPU the time that the kernels spent in their queue. The inputs
are the same in every call, so caches are warm. Eager and kernels take turns, to meet the same machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import drawing
from .contents import plans
from .runners import runner_for
from .test_export import captured

SAMPLES = 15
CALLS = 10
SAMPLE_S = 0.25
Work = Callable[[], object]


def measure() -> list[dict[str, Any]]:
    """Both clocks of both models, per workload; microseconds per call."""
    where = drawing.device()
    if where is None:
        return []
    found = []
    with torch.no_grad(), drawing.own_precision():
        for number, described in enumerate(plans()["workloads"]):
            eager, new = drawing.pair(number, where)
            values = drawing.inputs(number, where)

            def old(model: Any = eager, values: Any = values) -> object:  # noqa: ANN401
                with drawing.baseline_autocast():
                    return model(*values)

            def kernels(model: Any = new, values: Any = values) -> object:  # noqa: ANN401
                return model(*values)

            times = _host(old, kernels, where)
            times |= _graphs(old, kernels) if where.type == "cuda" else _queue(kernels)
            found.append({"workload": described["name"], "calls": dict(new.fast_path.counts), **times})
    return found


def _host(old: Work, kernels: Work, where: torch.device) -> dict[str, Any]:
    """Wall time per call, launch cost included."""
    calls = {work: _calls(work, where) for work in (old, kernels)}
    samples: dict[Work, list[float]] = {old: [], kernels: []}
    for _ in range(SAMPLES):
        for work, taken in samples.items():
            taken.append(_wall_us(work, calls[work], where))
    return {"eager_host_us": _summary(samples[old]), "kernels_host_us": _summary(samples[kernels])}


def _calls(work: Work, where: torch.device) -> int:
    """How many calls make one sample; also warms up."""
    _wall_us(work, 2, where)
    one_s = _wall_us(work, 1, where) / 1e6
    return max(1, min(CALLS, int(SAMPLE_S / max(one_s, 1e-9))))


def _wall_us(work: Work, calls: int, where: torch.device) -> float:
    _wait(where)
    started = time.perf_counter()
    for _ in range(calls):
        work()
    _wait(where)
    return (time.perf_counter() - started) * 1e6 / calls


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def _graphs(old: Work, kernels: Work) -> dict[str, Any]:
    """Device time per call: CUDA graphs of one call, replayed between two events."""
    found: dict[str, Any] = {"device_clock": "CUDA graph replay"}
    for name, work in (("eager_device_us", old), ("kernels_device_us", kernels)):
        graph = captured(work)
        samples = []
        for _ in range(SAMPLES + 1):
            begun, ended = _event(), _event()
            begun.record(torch.cuda.current_stream())
            for _ in range(CALLS):
                graph.replay()
            ended.record(torch.cuda.current_stream())
            ended.synchronize()
            samples.append(begun.elapsed_time(ended) * 1e3 / CALLS)
        found[name] = _summary(samples[1:])
    return found


def _queue(kernels: Work) -> dict[str, Any]:
    """Time of the kernels in their queue, and wall time of library operators between them."""
    runner: Any = runner_for(torch.device("cpu"))
    queue, operators = [], []
    for _ in range(SAMPLES):
        kernels()
        queue.append(runner.queue_us)
        operators.append(runner.operators_us)
    return {
        "device_clock": "SYCL queue of the kernels; torch on a CPU has no device clock",
        "eager_device_us": None,
        "kernels_device_us": _summary(queue),
        "kernels_operators_us": _summary(operators),
    }


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _summary(samples: Sequence[float]) -> dict[str, float]:
    ordered = sorted(samples)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {
        "n": len(samples),
        "median": round(statistics.median(samples), 3),
        "p10": round(at(0.1), 3),
        "p90": round(at(0.9), 3),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(), indent=2) + "\n")
