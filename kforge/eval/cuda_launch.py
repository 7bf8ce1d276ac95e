"""One bound CUDA launch: arguments packed once, attributes from the plan, pointers relocated.

Every field of a plan's launch is executed here: dynamic shared memory above the default, cooperative and
cluster launches, programmatic dependent launch, carve-out, grids in waves, tensor maps, structs, arrays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kforge.eval import cuda_driver
from kforge.eval.cuda_driver import CudaFailed, call, driver
from kforge.eval.cuda_tensor_map import TENSOR_MAP_BYTES, encode
from kforge.eval.runner_main import LaunchRefused

_SCALARS: Mapping[str, Any] = {
    "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64,
    "f32": ctypes.c_float, "f64": ctypes.c_double, "b8": ctypes.c_bool,
}  # fmt: skip
_TENSOR_MAP_ALIGN_BYTES = 64
AddressOf = Callable[[int], int]
"""Tensor id to the address of its first element, now."""


def scalar_bytes(kind: str, value: bool | int | float) -> bytes:
    """A scalar as its parameter holds it."""
    if kind == "f16":
        return np.float16(value).tobytes()
    if kind == "bf16":
        return int(torch.tensor(value, dtype=torch.bfloat16).view(torch.int16)).to_bytes(
            2, "little", signed=True
        )
    return bytes(_SCALARS[kind](value))


class CudaLaunch:
    """A kernel with everything that its launch needs.

    Args:
        kernel: the driver's function.
        step: the launch step, as JSON data.
        arguments: its bound arguments, as JSON data.
        address_of: where tensors lie; asked again at every launch for those in ``moving``.
        moving: ids of tensors that library operators allocate anew in every run.
        sm_count: of the device, for grids in waves.

    Raises:
        LaunchRefused: the driver refuses an attribute or a tensor map.
    """

    def __init__(
        self,
        kernel: Any,  # noqa: ANN401
        step: Mapping[str, Any],
        arguments: Sequence[Mapping[str, Any]],
        *,
        address_of: AddressOf,
        moving: frozenset[int],
        sm_count: int,
    ) -> None:
        self._kernel, self._step, self._name = kernel, step, str(step["kernel"])
        self._address_of = address_of
        self._refresh: list[Callable[[], None]] = []
        self._kept: list[Any] = []
        try:
            self._set_function_attributes()
            values = [self._argument(argument, moving) for argument in arguments]
            self._config = self._launch_config(sm_count)
        except CudaFailed as error:
            raise LaunchRefused(f"launch of {self._name}: {error}") from error
        self._pointers = (ctypes.c_void_p * max(1, len(values)))(*values)

    def submit(self, stream: int) -> None:
        """Enqueue the kernel on a stream.

        Raises:
            LaunchRefused: the driver refuses the launch.
        """
        for refresh in self._refresh:
            refresh()
        self._config.hStream = stream
        status = driver().cuLaunchKernelEx(self._config, self._kernel, ctypes.addressof(self._pointers), 0)[0]
        if int(status) != 0:
            raise LaunchRefused(f"launch of {self._name}: {status.name}{self._hint(status.name)}")

    def _hint(self, error: str) -> str:
        if error == "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE":
            return "; a cooperative grid must fit on the device at once: use grid={'waves': 1}"
        if error == "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES":
            return "; the block needs more registers or shared memory than there are: add __launch_bounds__"
        return ""

    # ------------------------------------------------------------------------------------- attributes

    def _set_function_attributes(self) -> None:
        names = driver().CUfunction_attribute
        shared = int(self._step.get("shared_bytes", 0))
        # The attribute is the kernel's, not the launch's: another launch of it may have asked for more. Its
        # default leaves what the kernel's static memory leaves of 48 KiB.
        name = names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        allowed = call(driver().cuFuncGetAttribute(name, self._kernel), "reading a kernel's attribute")
        if shared > int(allowed):
            call(
                driver().cuFuncSetAttribute(self._kernel, name, shared),
                f"{shared} bytes of dynamic shared memory beside the kernel's static",
            )
        if self._step.get("nonportable_cluster"):
            name = names.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            call(driver().cuFuncSetAttribute(self._kernel, name, 1), "a non-portable cluster size")

    def _launch_config(self, sm_count: int) -> Any:  # noqa: ANN401
        step = self._step
        block = [*step["block"], 1, 1][:3]
        shared = int(step.get("shared_bytes", 0))
        grid = [*self._grid(step["grid"], block, shared, sm_count), 1, 1][:3]
        config = driver().CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = grid
        config.blockDimX, config.blockDimY, config.blockDimZ = block
        config.sharedMemBytes = shared
        attributes = self._attributes()
        config.attrs = attributes
        config.numAttrs = len(attributes)
        return config

    def _grid(self, grid: Any, block: Sequence[int], shared: int, sm_count: int) -> list[int]:  # noqa: ANN401
        if not isinstance(grid, dict):
            return [int(extent) for extent in grid]
        threads = int(np.prod(block))
        resident = call(
            driver().cuOccupancyMaxActiveBlocksPerMultiprocessor(self._kernel, threads, shared), "occupancy"
        )
        if int(resident) < 1:
            raise LaunchRefused(f"launch of {self._name}: not one block of {threads} threads fits on an SM")
        blocks = int(grid["waves"]) * int(resident) * sm_count
        cluster = int(np.prod(self._step.get("cluster") or [1]))
        return [max(cluster, blocks // cluster * cluster)]

    def _attributes(self) -> list[Any]:
        step, ids = self._step, driver().CUlaunchAttributeID
        found: list[Any] = []

        def add(name: Any) -> Any:  # noqa: ANN401
            attribute = driver().CUlaunchAttribute()
            attribute.id = name
            found.append(attribute)
            return attribute.value

        if step.get("cooperative"):
            add(ids.CU_LAUNCH_ATTRIBUTE_COOPERATIVE).cooperative = 1
        if step.get("cluster"):
            dims = add(ids.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION).clusterDim
            dims.x, dims.y, dims.z = [*step["cluster"], 1, 1][:3]
        if step.get("pdl"):
            value = add(ids.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
            value.programmaticStreamSerializationAllowed = 1
        if step.get("carveout") is not None:
            add(ids.CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT).sharedMemCarveout = int(
                step["carveout"]
            )
        return found

    # -------------------------------------------------------------------------------------- arguments

    def _argument(self, argument: Mapping[str, Any], moving: frozenset[int]) -> int:
        """Address of the host memory that holds one argument."""
        match argument["kind"]:
            case "tensor":
                place = ctypes.c_uint64(0)
                self._keep_pointer(ctypes.addressof(place), argument["id"], moving)
                self._kept.append(place)
                return ctypes.addressof(place)
            case "scalar":
                return self._bytes(scalar_bytes(argument["type"], argument["value"]), 8)
            case "tensor_map":
                return self._tensor_map(argument, moving)
            case "struct":
                return self._struct(argument, moving)
            case "array":
                return self._array(argument, moving)
            case other:
                raise LaunchRefused(f"kernel {self._name}: an argument has unknown kind {other!r}")

    def _bytes(self, data: bytes, align: int) -> int:
        memory = ctypes.create_string_buffer(len(data) + align)
        address = -(-ctypes.addressof(memory) // align) * align
        ctypes.memmove(address, data, len(data))
        self._kept.append(memory)
        return address

    def _keep_pointer(self, place: int, tensor: int, moving: frozenset[int]) -> None:
        """Write a tensor's address to ``place`` now, or before every launch if the tensor moves."""

        def write() -> None:
            ctypes.c_uint64.from_address(place).value = self._address_of(tensor)

        if tensor in moving:
            self._refresh.append(write)
        else:
            write()

    def _tensor_map(self, argument: Mapping[str, Any], moving: frozenset[int]) -> int:
        tensor, described = int(argument["id"]), argument["map"]
        place = self._bytes(bytes(TENSOR_MAP_BYTES), _TENSOR_MAP_ALIGN_BYTES)

        def write() -> None:
            ctypes.memmove(place, encode(described, self._address_of(tensor)), TENSOR_MAP_BYTES)

        if tensor in moving:
            self._refresh.append(write)
        else:
            write()
        return place

    def _struct(self, argument: Mapping[str, Any], moving: frozenset[int]) -> int:
        place = self._bytes(bytes(int(argument["bytes"])), 64)
        for entry in argument["fields"]:
            at, held = place + int(entry["offset"]), entry["arg"]
            if held["kind"] == "tensor":
                self._keep_pointer(at, int(held["id"]), moving)
            else:
                data = scalar_bytes(held["type"], held["value"])
                ctypes.memmove(at, data, len(data))
        return place

    def _array(self, argument: Mapping[str, Any], moving: frozenset[int]) -> int:
        """Pointers or tensor maps in device memory, written when the launch is bound."""
        parts = []
        for item in argument["items"]:
            if int(item["id"]) in moving:
                raise LaunchRefused(
                    f"kernel {self._name}: an array of pointers cannot hold what a library operator made; "
                    "pass it as an argument of its own"
                )
            address = self._address_of(int(item["id"]))
            parts.append(
                encode(item["map"], address)
                if item["kind"] == "tensor_map"
                else address.to_bytes(8, "little")
            )
        data = b"".join(parts)
        memory = cuda_driver.allocate(len(data))
        call(driver().cuMemcpyHtoD(memory.address, data, len(data)), "copying an array of pointers")
        self._kept.append(memory)
        return self._bytes(memory.address.to_bytes(8, "little"), 8)
