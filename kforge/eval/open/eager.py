"""Eager PyTorch and the empty module, in one trusted process, driven through a candidate's protocol."""

from __future__ import annotations

import contextlib
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval import confinement
from kforge.eval.arena import Arena
from kforge.eval.open.calls import Calls
from kforge.eval.open.store import HostStore, Store
from kforge.eval.precision_policy import apply_policy, autocast_of
from kforge.eval.runner_main import LaunchRefused, Run, serve


def run(connection: Connection) -> None:
    """Entry point of the baseline's process."""
    os.setsid()
    confinement.die_with_parent(os.getppid())
    serve(connection, EagerSession)


class EagerSession:
    """``go`` calls the reference; ``noop`` does the same with a module that hands out what it already has."""

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        user_dir = Path(job["user_dir"]) if job["user_dir"] else None
        loaded = load_task(resolve(job["task"], user_dir), job["size"])
        workload = next(w for w in loaded.workloads if w.name == job["workload"])
        apply_policy(job["precision"])
        # Half precisions need more than a switch; on the host there is nothing that autocast would speed up.
        on_card = job["device_index"] is not None
        self._policy = autocast_of(job["precision"]) if on_card else contextlib.nullcontext()
        torch.set_num_threads(int(job["threads"]))
        torch.set_grad_enabled(False)
        store: Store = HostStore(arena)
        device = torch.device("cpu")
        if job["device_index"] is not None:
            from kforge.eval.open import card  # the cuda extra

            store = card.own_store(int(job["device_index"]), int(job["bytes"]), arena)
            device = torch.device("cuda", int(job["device_index"]))
        self._calls = Calls(job, arena, store)
        self._model = workload.model(int(job["seed"]), device)
        self._ready: object = self._model(*workload.inputs(0, device))
        if isinstance(self._ready, tuple | list):
            self._ready = [o.clone() for o in self._ready]
        elif isinstance(self._ready, Tensor):
            self._ready = self._ready.clone()

    def handle(self, request: dict[str, Any]) -> None:
        """Nothing is asked but runs."""
        raise LaunchRefused(f"unknown request {request['do']!r}")

    def go(self) -> Run:
        """One eager call."""
        started = time.perf_counter()
        with self._policy:
            self._calls.forward(lambda values: self._model(*values))
        return Run((time.perf_counter() - started) * 1e6)

    def noop(self) -> Run:
        """The same request without a computation: the floor under every call."""
        self._calls.forward(lambda values: self._ready)
        return Run(0.0)
