"""The baseline: eager PyTorch in its own trusted process, driven through the runner's protocol.

Candidate and baseline answer the same requests over the same kind of connection, so that what the protocol
costs falls on both alike.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval import confinement
from kforge.eval.arena import Arena, Slot
from kforge.eval.runner_main import Run, serve
from kforge.eval.state import tensors_of


def run(connection: Connection) -> None:
    """Entry point of the baseline process."""
    os.setsid()
    confinement.die_with_parent(os.getppid())
    serve(connection, EagerSession)


class EagerSession:
    """The reference module, called as PyTorch would call it."""

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        user_dir = Path(job["user_dir"]) if job["user_dir"] else None
        loaded = load_task(resolve(job["task"], user_dir), job["size"])
        self._workload = next(w for w in loaded.workloads if w.name == job["workload"])
        self._arena = arena
        torch.set_num_threads(int(job["threads"]))
        torch.set_grad_enabled(False)
        self._model = self._workload.model(0)
        self._values = self._workload.inputs(0)
        self._flush = np.zeros(int(job["flush_bytes"]), dtype=np.uint8)
        state = tensors_of(self._model)
        tensors = [v for v in self._values if isinstance(v, torch.Tensor)]
        given = [*tensors, *(state[name] for name in job["state_names"])]
        self._targets = list(zip(given, (Slot(*slot) for slot in job["given"]), strict=True))

    def prepare(self, poison: int) -> None:
        """Copy the given values in and disturb the caches."""
        for tensor, slot in self._targets:
            source = torch.frombuffer(
                self._arena.view(slot), dtype=tensor.dtype, count=slot.size // tensor.itemsize
            )
            tensor.copy_(source.as_strided(tensor.shape, tensor.stride()))
        self._flush += 1

    def handle(self, request: dict[str, Any]) -> None:
        """``prepare`` before a run."""
        if request["do"] == "prepare":
            self.prepare(int(request["poison"]))

    def go(self) -> Run:
        """One eager forward pass; no device clock of its own."""
        self._model(*self._values)
        return Run(0.0)

    def noop(self) -> Run:
        """Nothing to wait for on the host."""
        return Run(0.0)
