"""CUDA devices as the driver tells them, and the cards that kforge can build for where there is none."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kforge.errors import InfraError
from kforge.eval.cuda_driver import CudaFailed, call, driver
from kforge.types import DeviceInfo

# Compute capabilities whose own instructions (wgmma, setmaxnreg) exist only in the "a" variant of the target.
FIRST_ARCHITECTURE_SPECIFIC = 9
PORTABLE_CLUSTER = 8

_H100 = DeviceInfo(
    language="cuda", backend="cuda", name="NVIDIA H100 80GB HBM3", arch="sm_90a", driver="none", sm_count=132,
    max_work_group=1024, shared_per_sm=233472, shared_optin=232448, regs_per_sm=65536,
    max_cluster=PORTABLE_CLUSTER, max_threads_per_sm=2048, warp_size=32, l2_bytes=50 << 20,
    memory_bytes=80 << 30, is_cpu=False, selector="cuda:none",
)  # fmt: skip
# CUDA programming guide, "Technical Specifications per Compute Capability", and the cards' datasheets.
BUILD_TARGETS: Mapping[str, DeviceInfo] = {
    "sm_90a": _H100,
    "sm_89": replace(
        _H100, name="NVIDIA GeForce RTX 4090", arch="sm_89", sm_count=128, shared_per_sm=102400,
        shared_optin=101376, max_cluster=1, max_threads_per_sm=1536, l2_bytes=72 << 20, memory_bytes=24 << 30,
    ),
    "sm_80": replace(
        _H100, name="NVIDIA A100-SXM4-80GB", arch="sm_80", sm_count=108, shared_per_sm=167936,
        shared_optin=166912, max_cluster=1, l2_bytes=40 << 20,
    ),
}  # fmt: skip
DEFAULT_TARGET = "sm_90a"


def list_cuda_devices() -> tuple[DeviceInfo, ...]:
    """All CUDA devices, in the driver's order; none where there is no driver.

    Call it in a child process: it loads the driver into the caller.

    Raises:
        MissingPrerequisite: the cuda extra is not installed.
        InfraError: there is a driver, and it does not answer.
    """
    api = driver()
    try:
        status = api.cuInit(0)[0]
    except RuntimeError:  # the bindings found no libcuda
        return ()
    if status.name in ("CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_STUB_LIBRARY"):
        return ()
    try:
        call((status,), "cuInit")
        version = int(call(api.cuDriverGetVersion(), "cuDriverGetVersion"))
        count = int(call(api.cuDeviceGetCount(), "cuDeviceGetCount"))
        return tuple(_device_info(api, index, version) for index in range(count))
    except CudaFailed as error:
        raise InfraError(f"The CUDA driver does not answer: {error}.", "run `nvidia-smi`") from error


def _device_info(api: Any, index: int, version: int) -> DeviceInfo:  # noqa: ANN401
    device = call(api.cuDeviceGet(index), "cuDeviceGet")
    names = api.CUdevice_attribute

    def attribute(name: str) -> int:
        key = getattr(names, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(call(api.cuDeviceGetAttribute(key, device), name))

    major, minor = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
    specific = major >= FIRST_ARCHITECTURE_SPECIFIC
    name: bytes = call(api.cuDeviceGetName(256, device), "cuDeviceGetName")
    return DeviceInfo(
        language="cuda",
        backend="cuda",
        name=name.split(b"\0")[0].decode("utf-8", "replace").strip(),
        arch=f"sm_{major}{minor}{'a' if specific else ''}",
        driver=f"CUDA {version // 1000}.{version % 1000 // 10}",
        sm_count=attribute("MULTIPROCESSOR_COUNT"),
        max_work_group=attribute("MAX_THREADS_PER_BLOCK"),
        shared_per_sm=attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
        shared_optin=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        regs_per_sm=attribute("MAX_REGISTERS_PER_MULTIPROCESSOR"),
        max_cluster=PORTABLE_CLUSTER if specific else 1,
        max_threads_per_sm=attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
        warp_size=attribute("WARP_SIZE"),
        l2_bytes=attribute("L2_CACHE_SIZE"),
        memory_bytes=int(call(api.cuDeviceTotalMem(device), "cuDeviceTotalMem")),
        is_cpu=False,
        selector=f"cuda:{index}",
        uuid=str(uuid.UUID(bytes=bytes(call(api.cuDeviceGetUuid(device), "cuDeviceGetUuid").bytes))),
    )
