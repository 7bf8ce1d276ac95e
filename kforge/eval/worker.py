"""The measuring process, one per device: JSON lines in, JSON lines out; holds the task and its secrets.

Started as ``python -m kforge.eval.worker``. Requests: {"do": "open", ..., "track": ...} once, then of the
sealed tracks {"do": "measure", ...} and {"do": "sanitize", ...}, of the open one {"do": "measure_open", ...}.
Answers: {"stage": ...} before each stage, which waits for {"do": "continue"}, then {"result": ...} or
{"error": {"code", "message", "next", "exit"}}.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from kforge.clock import SystemClock, secret_seed
from kforge.codec import from_json, to_dict
from kforge.errors import InfraError, KforgeError, MissingPrerequisite, UsageError
from kforge.eval import confinement
from kforge.eval.device_lock import DeviceLock, lock_path
from kforge.eval.diagnosed import diagnosed
from kforge.eval.protocol import PROTOCOLS, Protocol
from kforge.open_types import HostCpu, OpenDevice, OpenReport
from kforge.types import (
    Built,
    Ceilings,
    DeviceInfo,
    Language,
    Outcome,
    Precision,
    StageSeconds,
    TaskDescription,
)

if TYPE_CHECKING:
    from kforge.data.tasks.loader import LoadedTask
    from kforge.eval.open.verifier import OpenVerifier
    from kforge.eval.verifier import Verifier

PR_SET_DUMPABLE = 4
FLUSH_FACTOR = 2

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to "open": what this worker will measure, and what its device can do at best (GPUs only)."""

    task: TaskDescription
    ceilings: Ceilings | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A task opened for sealed candidates.

    Attributes:
        job: what runners are told.
        ceilings: what the device was measured to do at best; None where it was not.
    """

    loaded: LoadedTask
    description: TaskDescription
    device: DeviceInfo
    job: Mapping[str, Any]
    verifier: Verifier
    ceilings: Ceilings | None


@dataclass(frozen=True, slots=True)
class OpenTrack:
    """A task opened for published ``ModelNew`` files.

    Attributes:
        lock: the device's lock file; None for processors.
    """

    lock: str | None
    verifier: OpenVerifier


class Worker:
    """The state behind the lines: one task, one device."""

    def __init__(self, requests: TextIO, answers: TextIO) -> None:
        self._requests, self._answers = requests, answers
        self._subject: Sealed | OpenTrack | None = None

    def answer(self, **message: object) -> None:
        """Write one line."""
        self._answers.write(json.dumps(message) + "\n")
        self._answers.flush()

    def handle(self, request: dict[str, Any]) -> None:
        """Serve one request; every failure becomes an answer, for this is the actor's border."""
        try:
            match request["do"]:
                case "describe":
                    self.answer(result=to_dict(self._load(request)[1]))
                case "open":
                    self._open(request)
                case "measure":
                    self._measure(request)
                case "measure_open":
                    self._measure_open(request)
                case "sanitize":
                    self._sanitize(request)
                case other:
                    raise UsageError(
                        f"unknown request {other!r}", "use the driver of the same kforge version"
                    )
        except KforgeError as error:
            self._fail(error)
        except MemoryError:
            self._fail(
                InfraError(
                    "The measuring process ran out of memory.", "use --size small, or a larger machine"
                )
            )
        except Exception as error:  # noqa: BLE001 - the actor border: the driver decides what to do
            if type(error).__name__ == "OutOfMemoryError":  # torch's own, and torch may not be loaded here
                first = str(error).strip().partition("\n")[0]
                self._fail(
                    InfraError(
                        f"The device has too little memory for this task: {first}",
                        "end other programs on the card, use --size small, or a larger card",
                    )
                )
                return
            tail = traceback.format_exc(limit=-3)
            self._fail(InfraError(f"The measuring process failed: {error!r}\n{tail}", "run `kforge doctor`"))

    def _fail(self, error: KforgeError) -> None:
        self.answer(
            error={
                "code": error.code,
                "message": error.message,
                "next": error.next_step,
                "exit": error.exit_code,
            }
        )

    @staticmethod
    def _load(request: dict[str, Any]) -> tuple[Any, TaskDescription]:
        from kforge.data.tasks.describe import describe
        from kforge.data.tasks.loader import load_task
        from kforge.data.tasks.registry import resolve

        user_dir = Path(request["user_dir"]) if request["user_dir"] else None
        loaded = load_task(resolve(request["task"], user_dir), request["size"])
        return loaded, describe(loaded)

    def _open(self, request: dict[str, Any]) -> None:
        loaded, description = self._load(request)
        words = {name: request[name] for name in ("task", "size", "user_dir")}
        protocol = PROTOCOLS[request["quality"]]
        device: OpenDevice = from_json(OpenDevice, json.dumps(request["device"]))  # type: ignore[arg-type]
        if isinstance(device, HostCpu):
            self._subject = OpenTrack(None, _open_verifier(loaded, description, device, words, protocol))
            self.answer(result=to_dict(Opened(description, None)))
            return
        with DeviceLock(lock_path(device)) as lock:
            lock.claim()
            prepared, ceilings = PREPARATIONS[device.language](Path(request["cache_dir"]), device)
            lock.share()  # it constructs the reference and draws values, on the device
            job = prepared | words
            if request.get("track") == "open":
                verifier = _open_verifier(loaded, description, device, job, protocol)
                self._subject = OpenTrack(lock_path(device), verifier)
            else:
                sealed = _verifier(loaded, description, device, job, protocol)
                self._subject = Sealed(loaded, description, device, job, sealed, ceilings)
        self.answer(result=to_dict(Opened(description, ceilings)))

    def _sealed(self) -> Sealed:
        if isinstance(self._subject, Sealed):
            return self._subject
        raise UsageError("no task was opened for this track", "use the driver of the same kforge version")

    def _measure(self, request: dict[str, Any]) -> None:
        of = self._sealed()
        built = from_json(Built, json.dumps(request["built"]))
        precision: Precision = request["precision"]
        outcome, seconds = self._staged(
            lock_path(of.device), lambda on_stage: of.verifier.measure(built, precision, on_stage)
        )
        told = diagnosed(
            outcome, built, of.description, device=of.device, ceilings=of.ceilings, precision=precision
        )
        self.answer(result={"outcome": to_dict(told, Outcome), "seconds": to_dict(seconds)})

    def _measure_open(self, request: dict[str, Any]) -> None:
        from kforge.eval.open.worker_requests import measure_open

        of = self._subject
        if not isinstance(of, OpenTrack):
            raise UsageError("no task was opened for this track", "use the driver of the same kforge version")
        verifier = of.verifier
        found, seconds = self._staged(of.lock, lambda on_stage: measure_open(verifier, request, on_stage))
        report = OpenReport(found.outcome, found.sandbox, found.missing, seconds)
        self.answer(result=to_dict(report))

    def _sanitize(self, request: dict[str, Any]) -> None:
        from kforge.eval.sanitize_workloads import sanitize_workloads

        of = self._sealed()
        with DeviceLock(lock_path(of.device)) as lock:
            lock.share()
            found = sanitize_workloads(
                of.loaded, of.description, of.device,
                job=of.job, built=from_json(Built, json.dumps(request["built"])),
                precision=request["precision"],
            )  # fmt: skip
        self.answer(result=[to_dict(finding) for finding in found])

    def close(self) -> None:
        """End what the verifier keeps running."""
        if isinstance(self._subject, Sealed):
            self._subject.verifier.close()

    def _staged(
        self, path: str | None, work: Callable[[Callable[[str], None]], Result]
    ) -> tuple[Result, StageSeconds]:
        """Do the work under the device's lock, alone from the stage "bench" on."""
        clock = SystemClock()
        marks: dict[str, float] = {"start": clock.monotonic()}

        def on_stage(stage: str) -> None:
            self.answer(stage=stage)
            if not self._requests.readline():  # the driver says when the machine is quiet
                raise InfraError("The driver is gone.", "run the same command again")
            if stage == "bench":
                lock.claim()
            else:
                lock.share()
            marks[stage] = clock.monotonic()

        with DeviceLock(path) as lock:
            result = work(on_stage)
        end = clock.monotonic()
        bench_start = marks.get("bench", end)
        return result, StageSeconds(
            check=bench_start - marks["start"], bench=end - bench_start, total=end - marks["start"]
        )


Prepared = tuple[dict[str, Any], Ceilings | None]


def _verifier(
    loaded: LoadedTask,
    description: TaskDescription,
    device: DeviceInfo,
    job: Mapping[str, Any],
    protocol: Protocol,
) -> Verifier:
    from kforge.eval.verifier import Verifier

    return Verifier(
        loaded, description, device,
        job=job, clock=SystemClock(), seeds=secret_seed, protocol=protocol,
    )  # fmt: skip


def _open_verifier(
    loaded: LoadedTask,
    description: TaskDescription,
    device: OpenDevice,
    job: Mapping[str, Any],
    protocol: Protocol,
) -> OpenVerifier:
    from kforge.eval.open.worker_requests import open_verifier

    return open_verifier(loaded, description, device, job, protocol)


def _prepare_sycl(cache_dir: Path, device: DeviceInfo) -> Prepared:
    """What SYCL runners and the eager baseline beside them are told."""
    from kforge.eval.sycl_runtime import ensure_shim

    job = {
        "shim": str(ensure_shim(cache_dir)),
        "threads": os.cpu_count() or 1,
        "flush_bytes": FLUSH_FACTOR * last_level_cache_bytes(),
    }
    return job, None


def _prepare_cuda(cache_dir: Path, device: DeviceInfo) -> Prepared:
    """What CUDA runners and baselines are told; compilers of the baseline keep their caches in ours."""
    import torch

    from kforge.eval.ceilings_cuda import measure_ceilings
    from kforge.eval.cuda_driver import CudaFailed, use_device
    from kforge.eval.cuda_trusted import trusted_module

    if torch.version.cuda is None:
        raise MissingPrerequisite(
            f"torch {torch.__version__} is a CPU build; CUDA candidates need one with CUDA.",
            "pip install --force-reinstall torch (PyPI's Linux build brings CUDA)",
        )
    for name, folder in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
        os.environ.setdefault(name, str(cache_dir / folder))
    os.environ["CUDA_CACHE_DISABLE"] = "1"
    index = int(device.selector.partition(":")[2] or 0)
    trusted = str(trusted_module(cache_dir, device.arch))
    job = {"trusted": trusted, "device_index": index, "lock": lock_path(device)}
    try:
        ceilings = measure_ceilings(use_device(index))
    except (CudaFailed, RuntimeError) as error:
        raise InfraError(f"{device.name} cannot be used: {error}.", "run `nvidia-smi`") from error
    return job | {"copy_bytes_per_s": ceilings.copy_bytes_per_s}, ceilings


PREPARATIONS: Mapping[Language, Callable[[Path, DeviceInfo], Prepared]] = {
    "sycl": _prepare_sycl,
    "cuda": _prepare_cuda,
}


def last_level_cache_bytes() -> int:
    """Size of the largest CPU cache, 32 MiB where the system does not tell."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text[:-1].isdigit() and text[-1] in units:
            sizes.append(int(text[:-1]) * units[text[-1]])
    return min(max(sizes, default=32 << 20), 256 << 20)


def main() -> None:
    """Serve lines until standard input ends."""
    # A driver that was killed must not leave a benchmark running beside the one that follows.
    confinement.die_with_parent(os.getppid())
    if "KFORGE_SCRATCH" in os.environ:
        # Where multiprocessing puts its sockets, and has no other way to be told: the driver removes it.
        multiprocessing.current_process()._config["tempdir"] = os.environ["KFORGE_SCRATCH"]  # type: ignore[attr-defined]
    # Runners of the same user must not be able to read this memory: it holds seeds and references.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a task file that prints must not disturb the answers
    worker = Worker(sys.stdin, answers)
    try:
        while line := sys.stdin.readline():
            worker.handle(json.loads(line))
    finally:
        worker.close()


if __name__ == "__main__":
    main()
