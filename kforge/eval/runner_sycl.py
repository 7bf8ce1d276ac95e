"""The trusted runner for SYCL plans: owns every buffer and every launch of one candidate.

Disposable, one process per candidate: on a CPU device a kernel shares this address space, so nothing that
is secret or that another candidate needs ever enters it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kforge.eval import confinement
from kforge.eval.arena import GUARD_BYTES, Arena, Slot
from kforge.eval.library_ops import LIBRARY_OPS
from kforge.eval.runner_main import LaunchRefused, Run, serve
from kforge.eval.sycl_runtime import import_dpctl, load_shim, take_text, wheel_prefix
from kforge.types import DTYPE_BYTES

_SCALAR_TYPES: dict[str, Any] = {
    "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64,
    "f32": ctypes.c_float, "f64": ctypes.c_double, "b8": ctypes.c_bool,
}  # fmt: skip
_MEMORY_LIMIT_BYTES = 64 << 30
_SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/OpenCL", "/sys", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/dev/urandom",
)  # fmt: skip
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def run(connection: Connection) -> None:
    """Entry point of the runner process."""
    os.setsid()
    confinement.die_with_parent(os.getppid())
    confinement.close_descriptors([connection.fileno()])
    serve(connection, SyclSession)


def confine(readable: Iterable[str]) -> dict[str, bool]:
    """Every layer a runner gets; must run before the drivers start threads, which inherit them.

    Args:
        readable: paths beside the installation and the system's that this runner reads.

    Returns:
        Which layers the kernel took.
    """
    confinement.die_first()
    confinement.set_limits(file_bytes=0, memory_bytes=_MEMORY_LIMIT_BYTES)
    read = [sys.prefix, sys.base_prefix, str(wheel_prefix()), *_SYSTEM_PATHS, *readable]
    taken = {
        "single_thread": len(os.listdir("/proc/self/task")) == 1,
        "network_namespace": confinement.leave_namespaces(network=True, processes=False),
        "no_capabilities": confinement.drop_capabilities(),
        "landlock": confinement.restrict_files(read, ["/dev/null", "/dev/dri"]),
    }
    confinement.die_with_parent(os.getppid())
    return taken | {"seccomp": confinement.forbid_reaching_out()}


class SyclSession:
    """One candidate on one SYCL device."""

    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        # Before anything that could start a thread: a thread keeps the rights of the moment it started.
        confine([str(Path(job["module"]).parent), str(Path(job["shim"]).parent)])
        dpctl = import_dpctl()
        self._arena = arena
        self._plan: dict[str, Any] = job["plan"]["plan"]
        self._by_id = {tensor["id"]: tensor for tensor in self._plan["tensors"]}
        self._places = {int(name): Slot(*place) for name, place in job["places"].items()}
        self._in_place = bool(job["in_place"])
        self._queue = dpctl.SyclQueue(job["selector"], property=["in_order", "enable_profiling"])
        self._shim = load_shim(Path(job["shim"]))
        torch.set_num_threads(int(job["threads"]))
        torch.set_grad_enabled(False)
        self._memory: dict[int, Bytes] = {}
        self._pointers: dict[int, int] = {}
        self._tensors: dict[int, torch.Tensor] = {}
        self._allocate(dpctl)
        self._kernels = self._load_kernels(Path(job["module"]))
        arguments = iter(job["plan"]["launches"])
        self._steps = [self._bind(step, arguments) for step in self._plan["steps"]]

    def _allocate(self, dpctl: Any) -> None:  # noqa: ANN401
        for storage in self._plan["storages"]:
            if storage["role"] == "op":
                continue  # torch allocates an operator's output when it runs
            if self._in_place:
                memory = self._whole(storage["id"])
                pointer = int(memory.ctypes.data)
            else:
                memory, pointer = self._on_device(dpctl, int(storage["bytes"]))
            self._memory[storage["id"]] = memory
            self._pointers[storage["id"]] = pointer + GUARD_BYTES
        for tensor in self._plan["tensors"]:
            if tensor["storage"] in self._memory:
                self._tensors[tensor["id"]] = self._torch_view(self._body(tensor["storage"]), tensor)

    def _on_device(self, dpctl: Any, size: int) -> tuple[Bytes, int]:  # noqa: ANN401
        whole = size + 2 * GUARD_BYTES
        try:
            usm = dpctl.memory.MemoryUSMShared(whole, alignment=GUARD_BYTES, queue=self._queue)
        except (MemoryError, dpctl.memory.USMAllocationError) as error:
            raise LaunchRefused(f"no memory for a buffer of {size} bytes: {error}") from error
        return np.ndarray(whole, np.uint8, buffer=usm), int(usm._pointer)

    def _whole(self, storage: int) -> Bytes:
        """A buffer's place in the arena, with its guard zones."""
        place = self._places[storage]
        slot = Slot(place.offset - GUARD_BYTES, place.size + 2 * GUARD_BYTES)
        return np.frombuffer(self._arena.view(slot), dtype=np.uint8)

    def _body(self, storage: int) -> Bytes:
        return self._memory[storage][GUARD_BYTES:-GUARD_BYTES]

    @staticmethod
    def _torch_view(memory: Bytes, tensor: dict[str, Any]) -> torch.Tensor:
        dtype: torch.dtype = getattr(torch, tensor["dtype"])
        if memory.nbytes == 0:
            return torch.empty(tensor["shape"], dtype=dtype)
        usable = memory[: memory.nbytes - memory.nbytes % dtype.itemsize]
        flat = torch.frombuffer(usable, dtype=dtype)
        return flat.as_strided(tensor["shape"], tensor["strides"], tensor["offset"])

    def _load_kernels(self, module: Path) -> dict[str, int]:
        image = module.read_bytes()
        self._image = ctypes.create_string_buffer(image, len(image))
        context = self._queue.sycl_context.addressof_ref()
        device = self._queue.sycl_device.addressof_ref()
        error = ctypes.c_void_p()
        bundle = self._shim.kf_load(context, device, self._image, len(image), ctypes.byref(error))
        if not bundle:
            raise LaunchRefused(f"the device refused the module: {take_text(self._shim, error)}")
        kernels: dict[str, int] = {}
        for step in self._plan["steps"]:
            if step["kind"] == "launch" and step["kernel"] not in kernels:
                handle = self._shim.kf_kernel(bundle, step["kernel"].encode(), ctypes.byref(error))
                if not handle:
                    reason = take_text(self._shim, error)
                    raise LaunchRefused(f"the module has no kernel {step['kernel']!r}: {reason}")
                kernels[step["kernel"]] = handle
        return kernels

    # --------------------------------------------------------------------------------------- steps

    def _bind(self, step: dict[str, Any], arguments: Iterator[list[dict[str, Any]]]) -> Callable[[], None]:
        match step["kind"]:
            case "launch":
                return _Launch(self, step, next(arguments))
            case "op":
                return lambda: self._run_op(step)
            case "memset":
                return lambda: self._memset(step)
            case "copy":
                return lambda: self._copy(step)
            case other:
                raise LaunchRefused(f"unknown step {other!r}")

    def _run_op(self, step: dict[str, Any]) -> None:
        self._wait()
        args = [self._op_argument(a) for a in step["args"]]
        kwargs = {name: self._op_argument(a) for name, a in step["kwargs"].items()}
        try:
            result: torch.Tensor = LIBRARY_OPS[step["name"]](*args, **kwargs).contiguous()
        except (RuntimeError, TypeError, ValueError) as error:
            raise LaunchRefused(f"library operator {step['name']}: {error}") from error
        made = self._by_id[step["out"]]
        if list(result.shape) != list(made["shape"]):
            raise LaunchRefused(f"library operator {step['name']} gave shape {tuple(result.shape)}")
        self._pointers[made["storage"]] = result.data_ptr()
        flat = result.view(-1)
        for tensor in self._plan["tensors"]:
            if tensor["storage"] == made["storage"]:
                self._tensors[tensor["id"]] = flat.as_strided(
                    tensor["shape"], tensor["strides"], tensor["offset"]
                )

    def _op_argument(self, argument: Any) -> Any:  # noqa: ANN401
        if isinstance(argument, dict):
            return self._tensors[argument["id"]]
        return argument

    def _memset(self, step: dict[str, Any]) -> None:
        self._wait()
        tensor = self._tensors[step["tensor"]].reshape(-1)[step["start"] : step["stop"]]
        tensor.view(torch.uint8).fill_(step["value"])

    def _copy(self, step: dict[str, Any]) -> None:
        self._wait()
        self._tensors[step["dst"]].copy_(self._tensors[step["src"]])

    def _wait(self) -> None:
        error = ctypes.c_void_p()
        if self._shim.kf_wait(self._queue.addressof_ref(), ctypes.byref(error)):
            raise LaunchRefused(f"the device failed: {take_text(self._shim, error)}", "crash")

    # ------------------------------------------------------------------------------------- session

    def handle(self, request: dict[str, Any]) -> None:
        """``prepare`` before a run, ``export`` after it: where the buffers are not the arena's own."""
        match request["do"]:
            case "prepare":
                for storage, memory in self._memory.items():
                    memory[:] = self._whole(storage)
            case "export":
                for storage, memory in self._memory.items():
                    self._whole(storage)[:] = memory
            case other:
                raise LaunchRefused(f"unknown request {other!r}")

    def go(self) -> Run:
        """Run every step in order and wait; device microseconds summed over launches."""
        for storage in self._plan["storages"]:
            if storage["role"] == "zeros":
                self._body(storage["id"])[:] = 0
        for step in self._steps:
            step()
        self._wait()
        self._return_operator_outputs()
        return Run(sum(step.device_us() for step in self._steps if isinstance(step, _Launch)))

    def noop(self) -> Run:
        """Wait for an empty queue."""
        self._wait()
        return Run(0.0)

    def _return_operator_outputs(self) -> None:
        """Copy outputs that an operator allocated, and kernels then worked on, to their place."""
        for storage in {self._by_id[output]["storage"] for output in self._plan["outputs"]}:
            if storage not in self._memory:
                target = self._whole(storage)[GUARD_BYTES:-GUARD_BYTES]
                pointer = self._pointers[storage]
                target[:] = np.ctypeslib.as_array((ctypes.c_uint8 * target.nbytes).from_address(pointer))


class _Launch:
    """One bound kernel launch: argument arrays are made once, so that a run only submits."""

    def __init__(self, session: SyclSession, step: dict[str, Any], arguments: list[dict[str, Any]]) -> None:
        self._session = session
        self._name: str = step["kernel"]
        self._kernel = session._kernels[step["kernel"]]
        self._dimensions = len(step["grid"])
        # The plan's tuples are (x, y, z); SYCL's fastest dimension is its last.
        grid, block = step["grid"][::-1], step["block"][::-1]
        ranges = ctypes.c_size_t * self._dimensions
        self._global = ranges(*(g * b for g, b in zip(grid, block, strict=True)))
        self._local = ranges(*block)
        n = len(arguments)
        self._kinds = (ctypes.c_int * max(n, 1))()
        self._values = (ctypes.c_void_p * max(n, 1))()
        self._sizes = (ctypes.c_size_t * max(n, 1))()
        self._n = n
        self._scalars: list[Any] = []
        self._op_tensors: list[tuple[int, dict[str, Any]]] = []
        self._event: int | None = None
        for position, argument in enumerate(arguments):
            self._bind(position, argument)

    def _bind(self, position: int, argument: dict[str, Any]) -> None:
        session = self._session
        match argument["kind"]:
            case "tensor":
                tensor = session._by_id[argument["id"]]
                if tensor["storage"] in session._pointers:
                    self._values[position] = self._address(tensor)
                else:
                    self._op_tensors.append((position, tensor))
            case "scalar":
                value = _scalar(argument["type"], argument["value"])
                self._scalars.append(value)
                self._kinds[position] = 1
                self._sizes[position] = ctypes.sizeof(value)
                self._values[position] = ctypes.addressof(value)
            case "local":
                self._kinds[position] = 2
                self._sizes[position] = int(argument["bytes"])
            case other:
                raise LaunchRefused(f"kernel {self._name}: argument {position} has unknown kind {other!r}")

    def _address(self, tensor: dict[str, Any]) -> int:
        width = DTYPE_BYTES[tensor["dtype"]]
        return self._session._pointers[tensor["storage"]] + int(tensor["offset"]) * width

    def __call__(self) -> None:
        for position, tensor in self._op_tensors:
            self._values[position] = self._address(tensor)
        error = ctypes.c_void_p()
        self._event = self._session._shim.kf_launch(
            self._session._queue.addressof_ref(), self._kernel, self._dimensions, self._global, self._local,
            self._n, self._kinds, self._values, self._sizes, ctypes.byref(error),
        )  # fmt: skip
        if not self._event:
            raise LaunchRefused(f"launch of {self._name}: {take_text(self._session._shim, error)}")

    def device_us(self) -> float:
        """Device time of the last launch; reading it twice is a mistake."""
        event, self._event = self._event, None
        return float(self._session._shim.kf_event_ns(event)) / 1e3 if event else 0.0


def _scalar(kind: str, value: bool | int | float) -> Any:  # noqa: ANN401
    if kind == "f16":
        return ctypes.c_uint16(int(np.float16(value).view(np.uint16)))
    if kind == "bf16":
        return ctypes.c_uint16(int(torch.tensor(value, dtype=torch.bfloat16).view(torch.int16)) & 0xFFFF)
    return _SCALAR_TYPES[kind](value)
