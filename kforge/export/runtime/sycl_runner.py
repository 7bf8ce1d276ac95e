"""Runs launch plans on the OpenCL CPU device, on torch's own CPU memory: nothing is copied.

That device takes any pointer of the process (the aspect ``usm_system_allocations``). The queue is this
module's own and in order; a call returns when its work is done, as every CPU operator of torch does.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .contents import image, plans
from .memory import Layout, Memory
from .operators import run_operator
from .runners import Unavailable
from .scalars import scalar_bytes
from .sycl_library import load_library, take_text

Step = Callable[[Memory], None]


class SyclRunner:
    """The kernels, loaded for the device that they were exported on.

    Attributes:
        queue_us: of the last call, device time of its kernels in microseconds.
        operators_us: of the last call, wall time of its library operators.
    """

    def __init__(self) -> None:
        self.queue_us = self.operators_us = 0.0
        self.library = load_library()
        self._lock = threading.Lock()
        self._error = ctypes.c_void_p()
        self.queue = self._open()
        self._image = ctypes.create_string_buffer(image())
        size = len(self._image) - 1
        self._bundle = self.library.kx_load(self.queue, self._image, size, ctypes.byref(self._error))
        if not self._bundle:
            raise Unavailable("runtime", f"the device refused the kernels: {self.failure()}")
        self._kernels: dict[str, int] = {}
        self._plans = [_Bound(self, described) for described in plans()["workloads"]]

    def _open(self) -> int:
        name, system, built = ctypes.c_void_p(), ctypes.c_int(), plans()["device"]
        number = int(built["selector"].rpartition(":")[2])
        queue = self.library.kx_open(
            number, ctypes.byref(name), ctypes.byref(system), ctypes.byref(self._error)
        )
        if not queue:
            raise Unavailable("runtime", f"no SYCL device: {self.failure()}")
        device, _, driver = take_text(self.library, name).partition("\n")
        if (device.strip(), driver) != (built["name"], built["driver"]):
            raise Unavailable(
                "architecture",
                f"this is {device.strip()} with driver {driver}; the kernels were compiled for "
                f"{built['name']} with driver {built['driver']}: export again on this machine",
            )
        if not system.value:
            raise Unavailable("runtime", f"{device.strip()} cannot use torch's CPU memory")
        return int(queue)

    def run(self, number: int, given: list[Tensor]) -> object:
        """Run a plan and wait for it; one call at a time."""
        bound = self._plans[number]
        memory = Memory(bound.layout, given, torch.device("cpu"))
        with self._lock:
            self.queue_us = self.operators_us = 0.0
            for storage, size in bound.layout.zeros:
                ctypes.memset(memory.addresses[storage], 0, size)
            for step in bound.steps:
                step(memory)
            self.wait()
            self.queue_us = sum(launch.device_us() for launch in bound.launches)
        outputs = memory.outputs()
        return outputs if bound.returns_tuple else outputs[0]

    def wait(self) -> None:
        """Wait for everything in the queue."""
        if self.library.kx_wait(self.queue, ctypes.byref(self._error)):
            raise RuntimeError(f"the device failed: {self.failure()}")

    def failure(self) -> str:
        """What the shim said last."""
        return take_text(self.library, self._error)

    def kernel(self, name: str) -> int:
        """A kernel of the module."""
        if name not in self._kernels:
            found = self.library.kx_kernel(self._bundle, name.encode(), ctypes.byref(self._error))
            if not found:
                raise Unavailable("runtime", f"the module has no kernel {name!r}: {self.failure()}")
            self._kernels[name] = int(found)
        return self._kernels[name]

    def host_step(self, step: Mapping[str, Any], layout: Layout) -> Step:
        """A step that this thread does itself, after everything before it."""

        def operator(memory: Memory) -> None:
            self.wait()
            started = time.perf_counter()
            run_operator(step, memory, [*layout.tensors])
            self.operators_us += (time.perf_counter() - started) * 1e6

        def memset(memory: Memory) -> None:
            self.wait()
            width = layout.dtypes[step["tensor"]].itemsize
            begin, size = step["start"] * width, (step["stop"] - step["start"]) * width
            ctypes.memset(memory.address(step["tensor"]) + begin, step["value"], size)

        def copy(memory: Memory) -> None:
            self.wait()
            to, source = memory.address(step["dst"]), memory.address(step["src"])
            ctypes.memmove(to, source, layout.bytes_of(step["dst"]))

        return {"op": operator, "memset": memset, "copy": copy}[step["kind"]]


class _Bound:
    """One workload's plan with its launches packed."""

    def __init__(self, runner: SyclRunner, described: Mapping[str, Any]) -> None:
        self.layout = Layout(described["plan"])
        self.returns_tuple: bool = described["returns_tuple"]
        self.launches: list[_Launch] = []
        self.steps: list[Step] = []
        arguments = iter(described["launches"])
        for step in described["plan"]["steps"]:
            if step["kind"] == "launch":
                launch = _Launch(runner, step, next(arguments))
                self.launches.append(launch)
                self.steps.append(launch)
            else:
                self.steps.append(runner.host_step(step, self.layout))


class _Launch:
    """One kernel launch: packed once, pointers written anew for every call."""

    def __init__(
        self, runner: SyclRunner, step: Mapping[str, Any], arguments: Sequence[Mapping[str, Any]]
    ) -> None:
        self._runner, self._name = runner, step["kernel"]
        self._kernel = runner.kernel(step["kernel"])
        self._dimensions = len(step["grid"])
        # The plan's tuples are (x, y, z); SYCL's fastest dimension is its last.
        grid, block = step["grid"][::-1], step["block"][::-1]
        ranges = ctypes.c_size_t * self._dimensions
        self._global = ranges(*(g * b for g, b in zip(grid, block, strict=True)))
        self._local = ranges(*block)
        self._n = len(arguments)
        self._kinds = (ctypes.c_int * max(self._n, 1))()
        self._values = (ctypes.c_void_p * max(self._n, 1))()
        self._sizes = (ctypes.c_size_t * max(self._n, 1))()
        self._scalars: list[Any] = []
        self._tensors: list[tuple[int, int]] = []
        self._error = ctypes.c_void_p()
        self._event: int | None = None
        for position, argument in enumerate(arguments):
            self._bind(position, argument)

    def _bind(self, position: int, argument: Mapping[str, Any]) -> None:
        match argument["kind"]:
            case "tensor":
                self._tensors.append((position, argument["id"]))
            case "scalar":
                data = scalar_bytes(argument["type"], argument["value"])
                held = ctypes.create_string_buffer(data, len(data))
                self._scalars.append(held)
                self._kinds[position], self._sizes[position] = 1, len(data)
                self._values[position] = ctypes.addressof(held)
            case "local":
                self._kinds[position], self._sizes[position] = 2, int(argument["bytes"])
            case other:
                raise RuntimeError(
                    f"kernel {self._name}: an argument of unknown kind {other!r}: export again"
                )

    def __call__(self, memory: Memory) -> None:
        """Submit the kernel."""
        for position, tensor in self._tensors:
            self._values[position] = memory.address(tensor)
        library = self._runner.library
        self._event = library.kx_launch(
            self._runner.queue, self._kernel, self._dimensions, self._global, self._local,
            self._n, self._kinds, self._values, self._sizes, ctypes.byref(self._error),
        )  # fmt: skip
        if not self._event:
            raise RuntimeError(f"launch of {self._name}: {take_text(library, self._error)}")

    def device_us(self) -> float:
        """Device time of the last launch; it is asked for once per call, which frees its event."""
        event, self._event = self._event, None
        return float(self._runner.library.kx_event_ns(event)) / 1e3 if event else 0.0
