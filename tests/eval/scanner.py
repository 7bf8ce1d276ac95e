"""A runner whose kernel reads all of its own process: run by ``test_self_scan`` in the runner's place."""

from __future__ import annotations

import ctypes
import os
from multiprocessing.connection import Connection
from typing import Any

from kforge.eval.arena import Arena
from kforge.eval.runner_main import Run, serve
from kforge.eval.runner_sycl import SyclSession, _Launch

LARGEST_RANGE_BYTES = 1 << 30


def run(connection: Connection) -> None:
    """Entry point of the runner process."""
    os.setsid()
    serve(connection, ScanningSession)


class ScanningSession(SyclSession):
    """Launches the candidate's kernel once per stretch of the process's own writable memory.

    A kernel cannot ask the kernel of the operating system where memory lies, so the session tells it: the
    scan is at least as good as any that the candidate could do alone.
    """

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        super().__init__(job, arena)
        self._needles: list[list[int]] = job["needles"]

    def go(self) -> Run:
        """Scan for needle number 0, 1, ... on successive calls; the "device time" is the number of hits."""
        masked, mask = self._needles.pop(0)
        (step,) = self._steps
        assert isinstance(step, _Launch)
        hits = self._tensors[self._plan["outputs"][0]].reshape(-1)
        hits[0] = 0.0
        for start, end in own_memory():
            values = (start, (end - start) // 4 - 1, masked, mask)
            for slot, value in zip(step._scalars, values, strict=True):
                slot.value = ctypes.c_int64(value).value
            step()
            self._wait()
            step.device_us()
        return Run(float(hits[0]))


def own_memory() -> list[tuple[int, int]]:
    """Writable stretches of this process: heap, stacks, anonymous memory, the arena, data of libraries."""
    found: list[tuple[int, int]] = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                start, end = (int(part, 16) for part in span.split("-"))
                found.append((start, min(end, start + LARGEST_RANGE_BYTES)))
    return found
