"""One kernel launch of a CUDA plan: packed once, pointers written anew for every call."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .cuda_driver import (
    CARVEOUT,
    CLUSTER,
    COOPERATIVE,
    MAX_DYNAMIC_SHARED,
    NONPORTABLE_CLUSTER,
    PDL,
    TENSOR_MAP_ALIGN_BYTES,
    TENSOR_MAP_BYTES,
    Attribute,
    CudaFailed,
    Driver,
    LaunchConfig,
)
from .memory import Memory
from .scalars import scalar_bytes

Refresh = Callable[[Memory, int], None]


class CudaLaunch:
    """A launch step with its bound arguments. Not safe for two threads at once: its runner takes a lock.

    Args:
        driver: of this machine.
        kernel: the loaded function.
        step: the launch step of the plan.
        arguments: its bound arguments.
        device: that it runs on.
    """

    def __init__(
        self,
        driver: Driver,
        kernel: ctypes.c_void_p,
        step: Mapping[str, Any],
        arguments: Sequence[Mapping[str, Any]],
        device: torch.device,
    ) -> None:
        self._driver, self._kernel, self._step, self._device = driver, kernel, step, device
        self._name = str(step["kernel"])
        self._kept: list[object] = []
        self._slots: list[tuple[ctypes.c_uint64, int]] = []
        self._refresh: list[Refresh] = []
        self._set_attributes()
        values = [self._argument(argument) for argument in arguments]
        self._values = (ctypes.c_void_p * max(1, len(values)))(*values)
        self._config = self._launch_config()

    def __call__(self, memory: Memory, stream: int) -> None:
        """Enqueue the kernel."""
        for slot, tensor in self._slots:
            slot.value = memory.address(tensor)
        for refresh in self._refresh:
            refresh(memory, stream)
        self._config.stream = stream
        self._driver.launch(self._config, self._kernel, self._values, self._name)

    # -------------------------------------------------------------------------------------- attributes

    def _set_attributes(self) -> None:
        shared = int(self._step["shared_bytes"])
        # The attribute is the kernel's, not the launch's: another launch of it may have asked for more.
        if shared > self._driver.attribute(self._kernel, MAX_DYNAMIC_SHARED):
            self._driver.set_attribute(self._kernel, MAX_DYNAMIC_SHARED, shared)
        if self._step["nonportable_cluster"]:
            self._driver.set_attribute(self._kernel, NONPORTABLE_CLUSTER, 1)

    def _launch_config(self) -> LaunchConfig:
        step, config = self._step, LaunchConfig()
        block = [*step["block"], 1, 1][:3]
        shared = int(step["shared_bytes"])
        config.block[:] = block
        config.grid[:] = [*self._grid(block, shared), 1, 1][:3]
        config.shared_bytes = shared
        attributes = self._attributes()
        config.attributes = (Attribute * max(1, len(attributes)))(*attributes)
        config.count = len(attributes)
        return config

    def _grid(self, block: Sequence[int], shared: int) -> list[int]:
        grid = self._step["grid"]
        if not isinstance(grid, dict):
            return [int(extent) for extent in grid]
        threads = math.prod(block)
        resident = self._driver.resident_blocks(self._kernel, threads, shared)
        if resident < 1:
            raise CudaFailed(f"launch of {self._name}: not one block of {threads} threads fits on an SM")
        count = torch.cuda.get_device_properties(self._device).multi_processor_count
        blocks = int(grid["waves"]) * resident * count
        cluster = math.prod(self._step["cluster"] or [1])
        return [max(cluster, blocks // cluster * cluster)]

    def _attributes(self) -> list[Attribute]:
        step = self._step
        found = []
        if step["cooperative"]:
            found.append(_attribute(COOPERATIVE, 1))
        if step["cluster"]:
            found.append(_attribute(CLUSTER, *[*step["cluster"], 1, 1][:3]))
        if step["pdl"]:
            found.append(_attribute(PDL, 1))
        if step["carveout"] is not None:
            found.append(_attribute(CARVEOUT, int(step["carveout"])))
        return found

    # --------------------------------------------------------------------------------------- arguments

    def _argument(self, argument: Mapping[str, Any]) -> int:
        """Address of the host memory that holds one argument."""
        match argument["kind"]:
            case "tensor":
                return self._pointer(self._bytes(bytes(8), 8), int(argument["id"]))
            case "scalar":
                return self._bytes(scalar_bytes(argument["type"], argument["value"]), 8)
            case "tensor_map":
                place = self._bytes(bytes(TENSOR_MAP_BYTES), TENSOR_MAP_ALIGN_BYTES)
                self._refresh.append(self._map_writer(place, argument))
                return place
            case "struct":
                return self._struct(argument)
            case "array":
                return self._array(argument)
            case other:
                raise CudaFailed(f"kernel {self._name}: an argument of unknown kind {other!r}")

    def _bytes(self, data: bytes, align: int) -> int:
        memory = ctypes.create_string_buffer(len(data) + align)
        address = -(-ctypes.addressof(memory) // align) * align
        ctypes.memmove(address, data, len(data))
        self._kept.append(memory)
        return address

    def _pointer(self, place: int, tensor: int) -> int:
        self._slots.append((ctypes.c_uint64.from_address(place), tensor))
        return place

    def _map_writer(self, place: int, argument: Mapping[str, Any]) -> Refresh:
        tensor, described, last = int(argument["id"]), argument["map"], [-1]

        def write(memory: Memory, _stream: int) -> None:
            address = memory.address(tensor)
            if address != last[0]:
                self._driver.encode_map(place, described, address)
                last[0] = address

        return write

    def _struct(self, argument: Mapping[str, Any]) -> int:
        place = self._bytes(bytes(int(argument["bytes"])), 64)
        for entry in argument["fields"]:
            at, held = place + int(entry["offset"]), entry["arg"]
            if held["kind"] == "tensor":
                self._pointer(at, int(held["id"]))
            else:
                data = scalar_bytes(held["type"], held["value"])
                ctypes.memmove(at, data, len(data))
        return place

    def _array(self, argument: Mapping[str, Any]) -> int:
        """An array in device memory, made anew for every call: pointers, or tensor maps."""
        items = argument["items"]
        maps = items[0]["kind"] == "tensor_map"
        width = TENSOR_MAP_BYTES if maps else 8
        host = self._bytes(bytes(width * len(items)), TENSOR_MAP_ALIGN_BYTES)
        writers = [
            self._map_writer(host + n * width, item)
            if maps
            else _pointer_writer(host + n * width, item["id"])
            for n, item in enumerate(items)
        ]
        place, size = self._bytes(bytes(8), 8), width * len(items)

        def write(memory: Memory, stream: int) -> None:
            for writer in writers:
                writer(memory, stream)
            data = ctypes.string_at(host, size)
            if torch.cuda.is_current_stream_capturing():
                address = self._driver.place_for_good(data)
            else:
                made = torch.empty(size, dtype=torch.uint8, device=self._device)
                self._driver.upload(made.data_ptr(), data, stream)
                memory.keep(made)
                address = made.data_ptr()
            ctypes.c_uint64.from_address(place).value = address

        self._refresh.append(write)
        return place


def _pointer_writer(place: int, tensor: int) -> Refresh:
    def write(memory: Memory, _stream: int) -> None:
        ctypes.c_uint64.from_address(place).value = memory.address(tensor)

    return write


def _attribute(name: int, *words: int) -> Attribute:
    attribute = Attribute()
    attribute.id = name
    attribute.value.words[: len(words)] = words
    return attribute
