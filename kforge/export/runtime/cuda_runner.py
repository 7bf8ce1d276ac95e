"""Runs launch plans on one NVIDIA GPU, on the caller's current stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .contents import image, plans
from .cuda_driver import driver
from .cuda_launch import CudaLaunch
from .memory import Layout, Memory
from .operators import run_operator
from .runners import Unavailable

Step = Callable[[Memory, int], None]


class CudaRunner:
    """The kernels, loaded into torch's own context of one device.

    Steps that a plan lets overlap run one after the other here, which is what the caller's stream means.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        _same_card(device)
        self._driver = driver()
        self._lock = threading.Lock()
        with torch.cuda.device(device):
            torch.cuda.synchronize(device)  # makes the context, if nothing has yet
            self._context = self._driver.primary_context(device.index)
            self._driver.enter(self._context)
            self._module = self._driver.load(image())
            self._plans = [_Bound(self, described) for described in plans()["workloads"]]

    def run(self, number: int, given: list[Tensor]) -> object:
        """Enqueue a plan on the current stream; nothing waits for it."""
        bound = self._plans[number]
        if torch.cuda.current_device() != self._device.index:
            with torch.cuda.device(self._device):
                return self._run(bound, given)
        return self._run(bound, given)

    def _run(self, bound: _Bound, given: list[Tensor]) -> object:
        memory = Memory(bound.layout, given, self._device)
        stream: int = torch.cuda.current_stream(self._device).cuda_stream
        # Arguments are written to one place per launch, and a thread that torch never ran has no context.
        with self._lock:
            self._driver.enter(self._context)
            for storage, size in bound.layout.zeros:
                self._driver.fill(memory.addresses[storage], 0, size, stream)
            for step in bound.steps:
                step(memory, stream)
        outputs = memory.outputs()
        return outputs if bound.returns_tuple else outputs[0]

    def bind(self, step: Mapping[str, Any], arguments: Any, layout: Layout) -> Step:  # noqa: ANN401
        """A step of a plan as something to call."""
        match step["kind"]:
            case "launch":
                kernel = self._driver.kernel(self._module, step["kernel"])
                return CudaLaunch(self._driver, kernel, step, next(arguments), self._device)
            case "op":
                return lambda memory, _stream: run_operator(step, memory, [*layout.tensors])
            case "memset":
                return lambda memory, stream: self._driver.fill(
                    memory.address(step["tensor"]) + step["start"] * layout.dtypes[step["tensor"]].itemsize,
                    step["value"],
                    (step["stop"] - step["start"]) * layout.dtypes[step["tensor"]].itemsize,
                    stream,
                )
            case "copy":
                size = layout.bytes_of(step["dst"])
                return lambda memory, stream: self._driver.copy(
                    memory.address(step["dst"]), memory.address(step["src"]), size, stream
                )
            case other:
                raise RuntimeError(f"a step of unknown kind {other!r}: export again")


class _Bound:
    """One workload's plan with its launches packed."""

    def __init__(self, runner: CudaRunner, described: Mapping[str, Any]) -> None:
        self.layout = Layout(described["plan"])
        arguments = iter(described["launches"])
        self.steps = [runner.bind(step, arguments, self.layout) for step in described["plan"]["steps"]]
        self.returns_tuple: bool = described["returns_tuple"]


def _same_card(device: torch.device) -> None:
    """Plans hold figures of the card that they were made for: its multiprocessors, its shared memory."""
    built, found = plans()["device"], torch.cuda.get_device_properties(device)
    arch = f"sm_{found.major}{found.minor}"
    if arch != built["arch"].rstrip("a") or found.multi_processor_count != built["sm_count"]:
        raise Unavailable(
            "architecture",
            f"{found.name} is {arch} with {found.multi_processor_count} multiprocessors; the "
            f"kernels are for {built['name']}, {built['arch']} with {built['sm_count']}: export again here",
        )
