"""The trusted runner for CUDA: owns every buffer and launch of one sealed candidate, in a disposable process.

It allocates one stretch of device memory and exports it; the verifier writes inputs into it, poisons the
rest, and reads outputs out of it. Nothing of the verifier is ever mapped here: no reference, seed, tolerance.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch

from kforge.eval import confinement, cuda_driver
from kforge.eval.arena import Arena, Slot
from kforge.eval.cuda_clock import DeviceClock
from kforge.eval.cuda_driver import CudaFailed
from kforge.eval.cuda_launch import CudaLaunch
from kforge.eval.cuda_layout import lay_out_plan
from kforge.eval.cuda_schedule import Place, schedule
from kforge.eval.library_ops import LIBRARY_OPS
from kforge.eval.module_image import ModuleImage
from kforge.eval.precision_policy import apply_policy
from kforge.eval.runner_main import LaunchRefused, Run, RunnerBroken, serve
from kforge.types import DTYPE_BYTES

_SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/opt", "/etc/ld.so.cache", "/etc/nvidia", "/sys", "/proc", "/dev/urandom",
)  # fmt: skip

Given = TypeVar("Given")


def run(connection: Connection) -> None:
    """Entry point of the runner process."""
    os.setsid()
    confinement.die_with_parent(os.getppid())
    confinement.close_descriptors([connection.fileno()])
    serve(connection, CudaSession)


def confine(readable: Iterable[str]) -> dict[str, bool]:
    """Every layer a CUDA runner gets, before the driver starts threads, which inherit them.

    No limit on address space or file size: the driver reserves more of both than it uses.

    Returns:
        Which layers the kernel took.
    """
    confinement.die_first()
    confinement.set_limits()
    torch_home = Path(torch.__file__).resolve().parent.parent
    read = [sys.prefix, sys.base_prefix, str(torch_home), *_SYSTEM_PATHS, *readable]
    cards = [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("nvidia")]
    taken = {
        "single_thread": len(os.listdir("/proc/self/task")) == 1,
        "network_namespace": confinement.leave_namespaces(network=True, processes=False),
        "no_capabilities": confinement.drop_capabilities(),
        # The driver names its threads through /proc/self/task, and does not start where it may not.
        "landlock": confinement.restrict_files(read, ["/dev/null", "/proc/self/task", *cards]),
    }
    confinement.die_with_parent(os.getppid())
    return taken | {"seccomp": confinement.forbid_reaching_out(local_sockets=True)}


class CudaSession:
    """One candidate on one CUDA device."""

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        modules = [str(Path(job[name]).parent) for name in ("module", "trusted")]
        bindings = str(Path(cuda_driver.driver().__file__).resolve().parent.parent.parent)
        self.layers = confine([*modules, bindings])
        try:
            self._device = cuda_driver.use_device(int(job["device_index"]))
            self._clock = DeviceClock(
                self._device, Path(job["trusted"]).read_bytes(),
                flushes="flush" not in job["off"], resets="l2_reset" not in job["off"],
            )  # fmt: skip
        except (CudaFailed, RuntimeError) as error:
            raise RunnerBroken(f"the CUDA device cannot be used: {error}") from error
        self._poisons = "poison" not in job["off"]
        self._read_plan(job)
        self._allocate(arena)
        self.layers["no_sockets"] = confinement.forbid_sockets()
        self._bind(job)

    def _read_plan(self, job: Mapping[str, Any]) -> None:
        torch.set_grad_enabled(False)
        apply_policy(job["precision"])
        self._plan: dict[str, Any] = job["plan"]["plan"]
        self._by_id = {tensor["id"]: tensor for tensor in self._plan["tensors"]}
        self._moving = frozenset(
            t["id"] for t in self._plan["tensors"] if self._plan["storages"][t["storage"]]["role"] == "op"
        )
        self._moved: dict[int, int] = {}  # storage of an operator's result to its address in this run
        self._tensors: dict[int, torch.Tensor] = {}
        # Storage to its bytes, and to its address: an empty tensor does not know its own.
        self._regions: dict[int, torch.Tensor] = {}
        self._bases: dict[int, int] = {}

    def _allocate(self, arena: Arena) -> None:
        outputs = [self._by_id[i]["storage"] for i in self._plan["outputs"]]
        self._layout = lay_out_plan(self._plan["storages"], outputs)
        try:
            self._memory = cuda_driver.allocate(self._layout.size)
        except CudaFailed as error:
            raise LaunchRefused(f"no memory for the plan's buffers: {error}") from error
        arena.view(Slot(0, cuda_driver.IPC_HANDLE_BYTES))[:] = cuda_driver.export_memory(self._memory)
        everything = self._memory.bytes(self._device)
        for storage, begin in self._layout.offsets.items():
            self._regions[storage] = everything[begin : begin + int(self._plan["storages"][storage]["bytes"])]
            self._bases[storage] = self._memory.address + begin
        self._look()

    def _look(self) -> None:
        """The plan's tensors, as views of their storages."""
        for tensor in self._plan["tensors"]:
            if tensor["id"] not in self._moving:
                self._tensors[tensor["id"]] = self._view(self._regions[tensor["storage"]], tensor)

    @staticmethod
    def _view(memory: torch.Tensor, tensor: Mapping[str, Any]) -> torch.Tensor:
        dtype: torch.dtype = getattr(torch, tensor["dtype"])
        if memory.numel() == 0:
            return torch.empty(tensor["shape"], dtype=dtype, device=memory.device)
        usable = memory[: memory.numel() - memory.numel() % dtype.itemsize].view(dtype)
        base = usable.storage_offset()
        return usable.as_strided(tensor["shape"], tensor["strides"], base + int(tensor["offset"]))

    def _bind(self, job: Mapping[str, Any]) -> None:
        image = Path(job["module"]).read_bytes()
        try:
            # Kept here: a module that nobody holds would be unloaded under its kernels.
            self._module = cuda_driver.load_module(image)
            self._image = ModuleImage(self._module, image)
            names = {s["kernel"] for s in self._plan["steps"] if s["kind"] == "launch"}
            kernels = {name: cuda_driver.kernel_of(self._module, name) for name in sorted(names)}
        except CudaFailed as error:
            raise LaunchRefused(str(error)) from error
        arguments = iter(job["plan"]["launches"])
        self._steps: list[Callable[[torch.cuda.Stream], None]] = []
        for step in self._plan["steps"]:
            if step["kind"] == "launch":
                launch = CudaLaunch(
                    kernels[step["kernel"]], step, next(arguments),
                    address_of=self._address, moving=self._moving, sm_count=int(job["sm_count"]),
                )  # fmt: skip
                self._steps.append(lambda stream, launch=launch: launch.submit(stream.cuda_stream))  # type: ignore[misc]
            else:
                self._steps.append(self._torch_step(step))
        self._places: tuple[Place, ...] = schedule(self._plan["steps"])
        others = max((place.stream for place in self._places), default=0)
        self._streams = [self._clock.stream] + [torch.cuda.Stream(self._device) for _ in range(others)]  # type: ignore[no-untyped-call]
        self._begun = self._event()
        self._ended = {n: self._event() for n, place in enumerate(self._places) if place.signals}

    @staticmethod
    def _event() -> torch.cuda.Event:
        return torch.cuda.Event()  # type: ignore[no-untyped-call]

    def _address(self, tensor: int) -> int:
        described = self._by_id[tensor]
        storage = described["storage"]
        base = self._moved[storage] if tensor in self._moving else self._bases[storage]
        return base + int(described["offset"]) * DTYPE_BYTES[described["dtype"]]

    # --------------------------------------------------------------------------------------- steps

    def _torch_step(self, step: Mapping[str, Any]) -> Callable[[torch.cuda.Stream], None]:
        match step["kind"]:
            case "op":
                return lambda _stream: self._run_op(step)
            case "memset":
                return lambda _stream: self._memset(step)
            case "copy":
                return lambda _stream: self._copy(step)
            case other:
                raise LaunchRefused(f"unknown step {other!r}")

    def _run_op(self, step: Mapping[str, Any]) -> None:
        args = [self._op_argument(a) for a in step["args"]]
        kwargs = {name: self._op_argument(a) for name, a in step["kwargs"].items()}
        try:
            result: torch.Tensor = LIBRARY_OPS[step["name"]](*args, **kwargs).contiguous()
        except (RuntimeError, TypeError, ValueError) as error:
            raise LaunchRefused(f"library operator {step['name']}: {error}") from error
        made = self._by_id[step["out"]]
        if list(result.shape) != list(made["shape"]):
            raise LaunchRefused(f"library operator {step['name']} gave shape {tuple(result.shape)}")
        self._moved[made["storage"]] = result.data_ptr()
        flat = result.view(-1)
        for tensor in self._plan["tensors"]:
            if tensor["storage"] == made["storage"]:
                typed = flat.view(torch.uint8).view(getattr(torch, tensor["dtype"]))
                self._tensors[tensor["id"]] = typed.as_strided(
                    tensor["shape"], tensor["strides"], tensor["offset"]
                )

    def _op_argument(self, argument: Any) -> Any:  # noqa: ANN401
        return self._tensors[argument["id"]] if isinstance(argument, dict) else argument

    def _memset(self, step: Mapping[str, Any]) -> None:
        tensor = self._tensors[step["tensor"]].reshape(-1)[step["start"] : step["stop"]]
        tensor.view(torch.uint8).fill_(step["value"])

    def _copy(self, step: Mapping[str, Any]) -> None:
        self._tensors[step["dst"]].copy_(self._tensors[step["src"]])

    def _submit(self) -> None:
        """Enqueue the whole plan: zeroed buffers first, then every step on its stream."""
        for storage in self._plan["storages"]:
            if storage["role"] == "zeros":
                self._regions[storage["id"]].zero_()
        main = self._streams[0]
        if len(self._streams) > 1:
            self._begun.record(main)
            for stream in self._streams[1:]:
                stream.wait_event(self._begun)
        for number, place in enumerate(self._places):
            self._submit_step(number, place)
        for number, place in enumerate(self._places):
            if place.signals and place.stream:
                main.wait_event(self._ended[number])

    def _submit_step(self, number: int, place: Place) -> None:
        stream = self._streams[place.stream]
        for needed in place.waits:
            stream.wait_event(self._ended[needed])
        if place.stream:
            with torch.cuda.stream(stream):
                self._steps[number](stream)
        else:
            self._steps[number](stream)
        if place.signals:
            self._ended[number].record(stream)

    # ------------------------------------------------------------------------------------- session

    def go(self) -> Run:
        """One timed run."""
        return self._guarded(lambda: self._clock.timed(self._submit))

    def noop(self) -> Run:
        """What ``go`` does for an empty plan."""
        return self._guarded(lambda: self._clock.timed(lambda: None))

    def handle(self, request: dict[str, Any]) -> None:
        """``run`` without a clock, ``burst`` of runs, ``export`` of operators' outputs, ``audit``."""
        match request["do"]:
            case "run":
                self._guarded(lambda: self._clock.plain(self._submit))
            case "burst":
                submit = None if request["empty"] else self._submit
                poison = int(request["poison"]) if self._poisons else None
                self._guarded(
                    lambda: self._clock.burst(submit, int(request["runs"]), lambda: self._wipe(poison))
                )
            case "export":
                self._guarded(self._export)
            case "audit":
                self._guarded(self._audit)
            case other:
                raise LaunchRefused(f"unknown request {other!r}")

    def _wipe(self, poison: int | None) -> None:
        """Poison all memory that kernels may write, as the verifier does before a single run."""
        if poison is None:
            return
        stream = self._clock.stream.cuda_stream
        for storage in self._layout.writable:
            region = self._regions[storage]
            if region.numel():
                cuda_driver.fill(self._bases[storage], poison, region.numel(), stream)

    def _export(self) -> None:
        """Copy outputs that a library operator allocated to their place in the exported memory."""
        for tensor in self._plan["outputs"]:
            if tensor in self._moving:
                made = self._by_id[tensor]
                whole = next(t for t in self._plan["tensors"] if t["storage"] == made["storage"])
                source = self._tensors[whole["id"]].reshape(-1).view(torch.uint8)
                self._regions[made["storage"]].copy_(source)
        torch.cuda.synchronize(self._device)

    def _audit(self) -> None:
        """Compare the module's own objects with what they were before the first launch."""
        changed = self._image.changed()
        if changed is not None:
            raise LaunchRefused(changed, "module_changed")

    @staticmethod
    def _guarded(work: Callable[[], Given]) -> Given:
        """Errors of the device are told as the candidate's: it alone ran here."""
        try:
            return work()
        except (RuntimeError, CudaFailed) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise LaunchRefused(f"the device failed: {first}", "crash") from error
