"""The CUDA driver (libcuda.so.1) through ctypes: modules, launches, copies, tensor maps. Nothing to install.

Structures and numbers are those of cuda.h, CUDA 12 and 13; the driver keeps their layout.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .runners import Unavailable

MAX_DYNAMIC_SHARED, NONPORTABLE_CLUSTER = 8, 14
COOPERATIVE, CLUSTER, PDL, CARVEOUT = 2, 4, 6, 14
TENSOR_MAP_BYTES, TENSOR_MAP_ALIGN_BYTES = 128, 128
_RELAXED, _NON_BLOCKING = 2, 1  # CUstreamCaptureMode, CUstream_flags
MAP_TYPES: Mapping[str, int] = {
    "uint8": 0, "uint16": 1, "uint32": 2, "int32": 3, "uint64": 4, "int64": 5, "float16": 6, "float32": 7,
    "float64": 8, "bfloat16": 9, "float32_ftz": 10, "tfloat32": 11, "tfloat32_ftz": 12,
}  # fmt: skip
INTERLEAVES: Mapping[str, int] = {"none": 0, "16b": 1, "32b": 2}
SWIZZLES: Mapping[str, int] = {"none": 0, "32b": 1, "64b": 2, "128b": 3}
L2_PROMOTIONS: Mapping[str, int] = {"none": 0, "64b": 1, "128b": 2, "256b": 3}
OOB_FILLS: Mapping[str, int] = {"none": 0, "nan": 1}
_HINTS: Mapping[str, str] = {
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "it was built for another architecture: export again on this card",
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": "call the model once before the capture, so that it is loaded",
    "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE": "other work holds a part of the card, or it is another card",
}


class CudaFailed(RuntimeError):
    """A driver call failed; the text names the call and the driver's error."""


class _Value(ctypes.Union):
    _fields_ = (("words", ctypes.c_uint * 16), ("wide", ctypes.c_uint64 * 8))


class Attribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_ = (("id", ctypes.c_uint), ("pad", ctypes.c_uint), ("value", _Value))


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(Attribute)),
        ("count", ctypes.c_uint),
    )


class Driver:
    """The calls that a runner needs; every failure is a ``CudaFailed``."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise Unavailable("runtime", f"the NVIDIA driver cannot be loaded: {error}") from error
        self._launch = self._lib.cuLaunchKernelEx
        p = ctypes.c_void_p
        self._launch.argtypes = [p, p, p, p]
        self._lib.cuMemsetD8Async.argtypes = [ctypes.c_uint64, ctypes.c_ubyte, ctypes.c_size_t, p]
        self._lib.cuMemcpyDtoDAsync_v2.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, p]
        self._lib.cuMemcpyHtoDAsync_v2.argtypes = [ctypes.c_uint64, p, ctypes.c_size_t, p]
        self._lib.cuCtxSetCurrent.argtypes = [p]

    def check(self, status: int, what: str) -> None:
        """Raise for a failed call."""
        if status:
            name = ctypes.c_char_p()
            self._lib.cuGetErrorName(status, ctypes.byref(name))
            error = (name.value or str(status).encode()).decode()
            hint = f": {_HINTS[error]}" if error in _HINTS else ""
            raise CudaFailed(f"{what}: {error}{hint}")

    def primary_context(self, device: int) -> ctypes.c_void_p:
        """The context that torch uses on a device."""
        context = ctypes.c_void_p()
        self.check(self._lib.cuInit(0), "cuInit")
        found = self._lib.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        self.check(found, "cuDevicePrimaryCtxRetain")
        return context

    def enter(self, context: ctypes.c_void_p) -> None:
        """Make a context this thread's."""
        self.check(self._lib.cuCtxSetCurrent(context), "cuCtxSetCurrent")

    def load(self, image: bytes) -> ctypes.c_void_p:
        """A module from a cubin."""
        module = ctypes.c_void_p()
        self.check(self._lib.cuModuleLoadData(ctypes.byref(module), image), "loading the device code")
        return module

    def kernel(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        """A kernel of a module."""
        found = ctypes.c_void_p()
        self.check(
            self._lib.cuModuleGetFunction(ctypes.byref(found), module, name.encode()), f"kernel {name!r}"
        )
        return found

    def attribute(self, kernel: ctypes.c_void_p, name: int) -> int:
        """An attribute of a kernel."""
        value = ctypes.c_int()
        self.check(self._lib.cuFuncGetAttribute(ctypes.byref(value), name, kernel), "reading an attribute")
        return value.value

    def set_attribute(self, kernel: ctypes.c_void_p, name: int, value: int) -> None:
        """Set an attribute of a kernel."""
        self.check(self._lib.cuFuncSetAttribute(kernel, name, value), f"setting attribute {name} to {value}")

    def resident_blocks(self, kernel: ctypes.c_void_p, threads: int, shared_bytes: int) -> int:
        """How many blocks fit on one multiprocessor."""
        found = ctypes.c_int()
        ask = self._lib.cuOccupancyMaxActiveBlocksPerMultiprocessor
        status = ask(ctypes.byref(found), kernel, threads, ctypes.c_size_t(shared_bytes))
        self.check(status, "occupancy")
        return found.value

    def launch(self, config: LaunchConfig, kernel: ctypes.c_void_p, values: Any, name: str) -> None:  # noqa: ANN401
        """Enqueue a kernel."""
        status = self._launch(ctypes.byref(config), kernel, values, None)
        if status:
            self.check(status, f"launch of {name}")

    def fill(self, address: int, value: int, size: int, stream: int) -> None:
        """Set bytes on a stream."""
        if size:
            self.check(self._lib.cuMemsetD8Async(address, value, size, stream), f"filling {size} bytes")

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        """Copy device memory on a stream."""
        self.check(self._lib.cuMemcpyDtoDAsync_v2(to, source, size, stream), f"copying {size} bytes")

    def upload(self, to: int, data: bytes, stream: int) -> None:
        """Copy ordinary host memory to the device on a stream that is not captured; read on return."""
        self.check(
            self._lib.cuMemcpyHtoDAsync_v2(to, data, len(data), stream), f"uploading {len(data)} bytes"
        )

    def place_for_good(self, data: bytes) -> int:
        """Device memory that holds these bytes until the process ends; also while a stream is captured.

        A captured graph finds the same bytes at every replay, so they are no part of it.
        """
        mode, side, address = ctypes.c_int(_RELAXED), ctypes.c_void_p(), ctypes.c_uint64()
        self.check(self._lib.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode)), "leaving the capture")
        try:
            self.check(
                self._lib.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(len(data))), "allocating"
            )
            self.check(self._lib.cuStreamCreate(ctypes.byref(side), _NON_BLOCKING), "making a stream")
            self.upload(address.value, data, side.value or 0)
            self.check(self._lib.cuStreamSynchronize(side), f"uploading {len(data)} bytes")
            self.check(self._lib.cuStreamDestroy_v2(side), "ending a stream")
        finally:
            self._lib.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
        return address.value

    def encode_map(self, place: int, described: Mapping[str, Any], address: int) -> None:
        """Write a tensor map to ``place``, host memory aligned as the header says."""
        dims = _words(ctypes.c_uint64, described["dims"])
        strides = _words(ctypes.c_uint64, described["strides_bytes"])
        steps = _words(ctypes.c_uint32, described["element_strides"])
        start = ctypes.c_void_p(address + int(described["offset_bytes"]))
        kind, rank, target = MAP_TYPES[described["dtype"]], len(described["dims"]), ctypes.c_void_p(place)
        words = (
            INTERLEAVES[described["interleave"]], SWIZZLES[described["swizzle"]],
            L2_PROMOTIONS[described["l2_promotion"]], OOB_FILLS[described["oob_fill"]],
        )  # fmt: skip
        if described["map_kind"] == "tiled":
            box = _words(ctypes.c_uint32, described["box"])
            encode = self._lib.cuTensorMapEncodeTiled
            status = encode(target, kind, rank, start, dims, strides, box, steps, *words)
        else:
            lower = _words(ctypes.c_int, described["lower_corner"])
            upper = _words(ctypes.c_int, described["upper_corner"])
            pixels = int(described["channels_per_pixel"]), int(described["pixels_per_column"])
            encode = self._lib.cuTensorMapEncodeIm2col
            status = encode(target, kind, rank, start, dims, strides, lower, upper, *pixels, steps, *words)
        self.check(status, f"encoding a {described['map_kind']} tensor map")


def _words(kind: Any, numbers: Sequence[int]) -> Any:  # noqa: ANN401 - ctypes arrays
    return (kind * max(1, len(numbers)))(*numbers)


_one: list[Driver] = []
_lock = threading.Lock()


def driver() -> Driver:
    """The driver, loaded once.

    Raises:
        Unavailable: there is none.
    """
    with _lock:
        if not _one:
            _one.append(Driver())
        return _one[0]
