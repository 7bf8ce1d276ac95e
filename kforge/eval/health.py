"""Is the device still what it was? Asked after an outcome that may have hurt it, before the next candidate.

A fresh process computes something known on the device, within a deadline: its own context does not suffer
from what happened in the candidate's, and does not take the verifier along if the device hangs. Then the
memory must be back. A device that fails here is broken infrastructure, never the next candidate's failure.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch

from kforge.clock import Clock
from kforge.errors import InfraError
from kforge.eval import confinement
from kforge.eval.arena import Arena
from kforge.eval.runner_client import RunnerClient, RunnerFailed
from kforge.eval.runner_main import Run, RunnerBroken, serve
from kforge.types import CheckFailed, DeviceInfo, Language, Outcome, Passed, TimedOut

# A context takes a second or two to open; far more on a machine that is busy compiling.
PROBE_LIMIT_S = 60.0
# A driver frees the memory of a killed process some time after it is gone.
SETTLE_S = 15.0
# Compilers and libraries of the baseline keep some workspace that they had not before.
MEMORY_SLACK_BYTES = 1 << 30
PROBE_BYTES = 1 << 20
_NEXT: Mapping[Language, str] = {
    "cuda": "run `nvidia-smi`; end what is left there, or reset the card (`nvidia-smi --gpu-reset`)",
    "sycl": "run `kforge doctor`; end what is left (`ps -ef | grep kforge`), or start the machine again",
}


def may_hurt(outcome: Outcome) -> bool:
    """Whether a device may be worse for it: something was killed in the middle, or failed on the device."""
    match outcome:
        case TimedOut():
            return True
        case CheckFailed(kind=kind):
            return kind in ("crash", "launch")
        case _:
            return False


class Health:
    """What the verifier remembers of a device between two candidates.

    Args:
        device: where candidates run.
        job: what runners are told; names the device.
        clock: for waiting until memory is back.
    """

    def __init__(self, device: DeviceInfo, job: Mapping[str, Any], clock: Clock) -> None:
        self._device, self._clock = device, clock
        self._job = {"selector": device.selector, "device_index": job.get("device_index")}
        self._context: BaseContext = multiprocessing.get_context("forkserver")
        self._doubt: str | None = None
        self._free_bytes: int | None = None

    def remember(self, outcome: Outcome, runners: list[int]) -> None:
        """Take note of how an evaluation ended.

        Args:
            outcome: of the candidate.
            runners: process ids of its runners, all of which were killed.
        """
        if isinstance(outcome, Passed):
            # Only now has the baseline all that it will ever have.
            self._free_bytes = self._free()
        left = [pid for pid in runners if _exists(pid)]
        if left:
            self._doubt = f"process {left[0]} was killed and does not end"
        elif may_hurt(outcome):
            self._doubt = f"the candidate before it ended as {outcome.status}"

    def require(self) -> None:
        """Probe the device if there is a doubt, and end the doubt.

        Raises:
            InfraError: it does not compute what it should in time, or its memory is not back.
        """
        doubt, self._doubt = self._doubt, None
        if doubt is None:
            return
        client = RunnerClient(self._context, PROBES[self._device.language], self._job, PROBE_BYTES)
        try:
            client.wait_loaded(PROBE_LIMIT_S)
        except (RunnerFailed, InfraError) as error:
            raise self._unhealthy(doubt, str(error)) from error
        finally:
            client.close()
        self._require_memory(doubt)

    def _require_memory(self, doubt: str) -> None:
        wanted, deadline = self._free_bytes, self._clock.monotonic() + SETTLE_S
        if wanted is None:
            return
        while (free := self._free() or 0) < wanted - MEMORY_SLACK_BYTES:
            if self._clock.monotonic() > deadline:
                missing = f"{(wanted - free) / 2**30:.1f} GiB of its memory did not come back"
                raise self._unhealthy(doubt, missing)
            time.sleep(0.2)

    def _free(self) -> int | None:
        """Free bytes of a CUDA device; a CPU's memory is everybody's and says nothing."""
        if self._device.language != "cuda":
            return None
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(int(self._job["device_index"] or 0))[0])

    def _unhealthy(self, doubt: str, what: str) -> InfraError:
        return InfraError(
            f"{self._device.name} does not pass its health probe: {what}. It was probed because {doubt}.",
            _NEXT[self._device.language],
        )


def _exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def fork_server_lost() -> bool:
    """Whether the process that runners are forked from is gone: they go with it, whatever they did."""
    from multiprocessing.forkserver import _forkserver

    pid: int | None = _forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid is not None and not _exists(pid)


# --------------------------------------------------------------------------------- in the fresh process


def probe_sycl(connection: Connection) -> None:
    """Entry point: bytes to the device and back."""
    _begin()
    serve(connection, _SyclProbe)


def probe_cuda(connection: Connection) -> None:
    """Entry point: an exact matrix product on all of the card."""
    _begin()
    serve(connection, _CudaProbe)


PROBES: Mapping[Language, Callable[[Connection], None]] = {"sycl": probe_sycl, "cuda": probe_cuda}


def _begin() -> None:
    os.setsid()
    confinement.die_with_parent(os.getppid())


class _Probe:
    """A session that has nothing to do once it is made."""

    def go(self) -> Run:
        """Nothing."""
        return Run(0.0)

    noop = go

    def handle(self, request: dict[str, Any]) -> None:
        """Nothing."""


class _SyclProbe(_Probe):
    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        from kforge.eval.sycl_runtime import import_dpctl

        dpctl = import_dpctl()
        sent = bytes(range(256)) * (PROBE_BYTES // 256)
        try:
            queue = dpctl.SyclQueue(job["selector"])
            memory = dpctl.memory.MemoryUSMDevice(PROBE_BYTES, queue=queue)
            memory.copy_from_host(sent)
            found = bytes(memory.copy_to_host())
        except (RuntimeError, ValueError, MemoryError) as error:
            raise RunnerBroken(f"{type(error).__name__}: {error}") from error
        if found != sent:
            raise RunnerBroken("other bytes came back than were sent")


class _CudaProbe(_Probe):
    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        from kforge.eval import cuda_driver

        # Small integers: the product is exact in every precision, so any difference is a fault.
        values = (torch.arange(1024 * 1024) % 3).to(torch.float32).reshape(1024, 1024)
        try:
            device = cuda_driver.use_device(int(job["device_index"]))
            there = values.to(device)
            found = (there @ there).cpu()
        except (cuda_driver.CudaFailed, RuntimeError) as error:
            raise RunnerBroken(str(error).strip().partition("\n")[0]) from error
        if not torch.equal(found, values @ values):
            raise RunnerBroken("a matrix product of small integers came out wrong")
