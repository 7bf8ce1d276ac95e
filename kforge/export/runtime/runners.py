"""The one runner per device, made when it is first needed; threads that come meanwhile wait for it."""

from __future__ import annotations

import threading
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from .contents import provenance
from .guard import Reason


@cache
def device_kind() -> str:
    """The kind of torch device whose tensors the kernels take."""
    return {"cuda": "cuda", "sycl": "cpu"}[provenance()["language"]]


class Unavailable(Exception):
    """This machine cannot run the kernels; the eager ``Model`` can run all the same."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(kind, text)


class Runner(Protocol):
    """Runs launch plans on one device."""

    def run(self, number: int, given: list[Tensor]) -> object:
        """Run the plan of a workload; ``given`` are the tensors of its given storages, in its order."""


_runners: dict[torch.device, Runner | Reason] = {}
_making = threading.Lock()


def runner_for(device: torch.device) -> Runner | Reason:
    """The runner of a device, or why there is none.

    Raises:
        Damaged: a file of this folder was changed.
    """
    found = _runners.get(device)
    if found is None:
        with _making:
            found = _runners.get(device)
            if found is None:
                found = _runners[device] = _make(device)
    return found


def _make(device: torch.device) -> Runner | Reason:
    try:
        if device.type == "cuda":
            from .cuda_runner import CudaRunner

            return CudaRunner(device)
        from .sycl_runner import SyclRunner

        return SyclRunner()
    except Unavailable as error:
        return error.reason
