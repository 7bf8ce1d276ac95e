"""The disposable process of an open candidate. It holds the candidate's text, shapes and one seed; no secret.

Forked from a process that has torch loaded and has never seen more. The layers go on first, then the verifier
reads which of them hold, and only at its word the candidate's file runs.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
import sys
import time
import types
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, cast

import torch

from kforge.data.tasks.randomness import place, seed_all
from kforge.eval import confinement
from kforge.eval.arena import Arena
from kforge.eval.open import layers
from kforge.eval.open.calls import Calls
from kforge.eval.open.extension_install import ExtensionMissing, Installed, install
from kforge.eval.open.store import HostStore, Store
from kforge.eval.precision_policy import apply_policy
from kforge.eval.runner_main import LaunchRefused, Run, serve

NAME = "kforge_candidate"


def _import_extension_tools() -> None:
    """Import torch's extension module without its question for a card.

    That would start the driver, and a process whose parent has done so can never use one.
    """
    asked = torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    try:
        importlib.import_module("torch.utils.cpp_extension")
    finally:
        torch.cuda.is_available = asked


_import_extension_tools()


def run(connection: Connection) -> None:
    """Entry point of the candidate's process."""
    os.setsid()
    confinement.close_descriptors([connection.fileno()])
    serve(connection, CandidateSession)


class CandidateSession:
    """One published answer, constructed once."""

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        # Files that torch opens late must be known before they are closed off.
        extensions: Installed = install(job["extensions"])
        apply_policy(job["precision"])
        index = job["device_index"]
        if index is None:
            reads, writes = list(job["readable"]), []
        else:
            from kforge.eval.open import card  # the cuda extra, which is loaded before files are closed off

            reads, writes = [*job["readable"], *card.readable()], card.writable()
        border = layers.Border(
            job["scratch"], reads, writes, job["variables"],
            off=frozenset(job["off"]), shared=frozenset(job["shared"]), groups=job["groups"],
        )  # fmt: skip
        self._job = job
        self._extensions = extensions
        self._model: Callable[..., object] | None = None
        taken = layers.enter(border)
        torch.set_num_threads(int(job["threads"]))
        torch.set_grad_enabled(False)
        store: Store = HostStore(arena)
        self._device = torch.device("cpu")
        if index is not None:
            # After the fork, or the driver would not survive it; before the candidate's first line.
            store = card.own_store(int(index), int(job["bytes"]), arena)
            self._device = torch.device("cuda", int(index))
            if taken.get("seccomp"):
                taken["seccomp"] = confinement.forbid_sockets()
        self._calls = Calls(job, arena, store)
        self._calls.tell({"sandbox": taken})

    def handle(self, request: dict[str, Any]) -> None:
        """``construct``: run the file and make its model."""
        if request["do"] != "construct":
            raise LaunchRefused(f"unknown request {request['do']!r}")
        self._model = self._attempt("constructing ModelNew", self._construct)

    def _construct(self) -> Callable[..., object]:
        job = self._job
        path = os.path.join(job["scratch"], f"{NAME}.py")
        with open(path, "w") as file:  # Triton and inspect read a function's source from its file
            file.write(job["text"])
        module = types.ModuleType(NAME)
        module.__file__ = path
        sys.modules[NAME] = module
        seed_all(int(job["seed"]))
        exec(compile(job["text"], path, "exec"), module.__dict__)
        arguments = pickle.loads(base64.b64decode(job["init"]))
        seed_all(int(job["seed"]))
        with place(self._device):  # as the reference is constructed: the same seed draws the same weights
            model = module.__dict__["ModelNew"](*arguments)
        return cast("Callable[..., object]", model.to(self._device))

    def _attempt(self, what: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Run candidate code: the border at which whatever it raises becomes words."""
        try:
            result = work()
        except ExtensionMissing:
            result = None
        except LaunchRefused:
            raise
        except MemoryError as error:
            raise LaunchRefused(f"{what}: not enough memory: {error}") from error
        except BaseException as error:
            raise LaunchRefused(f"{what} raised {type(error).__name__}: {_first_lines(error)}") from error
        if self._extensions.missing:
            missing = [json.dumps(asdict(call)) for call in self._extensions.missing]
            self._calls.tell({"missing": missing})
            raise LaunchRefused(f"{what} asked for an extension that was not built")
        return result

    def go(self) -> Run:
        """One forward call; its own microseconds are a diagnostic."""
        started = time.perf_counter()
        self._attempt("calling ModelNew.forward", self._forward)
        return Run((time.perf_counter() - started) * 1e6)

    def _forward(self) -> None:
        assert self._model is not None
        model = self._model
        self._calls.forward(lambda values: model(*values))

    def noop(self) -> Run:
        """Nothing."""
        return Run(0.0)


def _first_lines(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())[:1500]
    except BaseException:  # noqa: BLE001 - the text of a candidate's own exception is candidate code too
        return "(no text)"
