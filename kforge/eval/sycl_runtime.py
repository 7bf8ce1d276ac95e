"""The SYCL runtime behind kforge: where the wheels lie, the g++ shim, and dpctl's devices.

One home for dpctl and for the shim. See docs/architecture.md, "SYCL without icpx".
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from kforge.errors import MissingPrerequisite
from kforge.types import DeviceInfo

SHIM_SOURCE = Path(__file__).with_name("sycl_shim.cpp")
PIP_LINE = "pip install 'kforge[sycl]'"
# Level-Zero GPU, OpenCL GPU, OpenCL CPU: the order of the candidate contract.
DEVICE_ORDER = (("level_zero", "gpu"), ("opencl", "gpu"), ("opencl", "cpu"))

Library = ctypes.CDLL


@cache
def wheel_prefix() -> Path:
    """The environment whose ``include`` and ``lib`` hold the SYCL headers and libraries.

    Raises:
        MissingPrerequisite: the sycl extra is not installed.
    """
    try:
        files = metadata.files("intel-sycl-rt") or []
    except metadata.PackageNotFoundError as error:
        raise MissingPrerequisite(
            "The SYCL runtime (wheel intel-sycl-rt) is not installed.", PIP_LINE
        ) from error
    for entry in files:
        if re.fullmatch(r"libsycl\.so\.\d+", entry.name):
            return Path(str(entry.locate())).resolve().parent.parent
    raise MissingPrerequisite("The wheel intel-sycl-rt holds no libsycl.so.", f"{PIP_LINE} --force-reinstall")


@cache
def runtime_version() -> str:
    """Version of the SYCL runtime and compiler wheel."""
    wheel_prefix()
    return metadata.version("intel-sycl-rt")


def point_at_cpu_driver() -> None:
    """Let the OpenCL loader find the CPU driver of the wheel, whose own ICD file names another prefix.

    Must run before dpctl is imported. An ``OCL_ICD_FILENAMES`` of the user's stays.
    """
    driver = wheel_prefix() / "lib" / "libintelocl.so"
    if driver.exists():
        os.environ.setdefault("OCL_ICD_FILENAMES", str(driver))


def shim_path(cache_dir: Path) -> Path:
    """Where the shim for this source and this runtime version lies in the cache."""
    digest = hashlib.sha256(
        SHIM_SOURCE.read_bytes() + f"{runtime_version()} {sys.prefix}".encode()
    ).hexdigest()
    return cache_dir / "shim" / f"kforge_sycl_{digest[:16]}.so"


def ensure_shim(cache_dir: Path) -> Path:
    """Build the shim with g++ if the cache does not hold it (about 2 s, once per runtime version).

    Raises:
        MissingPrerequisite: no g++, or g++ failed; the message carries its last line.
    """
    target = shim_path(cache_dir)
    if target.exists():
        return target
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingPrerequisite(
            "SYCL kernels need g++ and the C++ headers; g++ is not on the PATH.", "apt-get install g++"
        )
    prefix = wheel_prefix()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    library = next(iter(sorted((prefix / "lib").glob("libsycl.so.[0-9]"))), prefix / "lib" / "libsycl.so")
    command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-w", f"-I{prefix / 'include'}"]
    command += [str(SHIM_SOURCE), "-o", str(partial), f"-L{prefix / 'lib'}", f"-l:{library.name}"]
    command += [f"-Wl,-rpath,{prefix / 'lib'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingPrerequisite(
            f"g++ could not build the SYCL shim: {tail}", f"{PIP_LINE}, then kforge doctor"
        )
    os.replace(partial, target)
    return target


def load_shim(path: Path) -> Library:
    """Load the shim and declare its functions."""
    lib = ctypes.CDLL(str(path))
    p, s, i, z = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
    pp, pz = ctypes.POINTER(p), ctypes.POINTER(z)
    lib.kf_free.argtypes = [p]
    lib.kf_build.argtypes = [p, p, s, ctypes.POINTER(s), i, pp, pz, pp, pz, pp]
    lib.kf_load.argtypes, lib.kf_load.restype = [p, p, p, z, pp], p
    lib.kf_kernel.argtypes, lib.kf_kernel.restype = [p, s, pp], p
    lib.kf_launch.argtypes = [p, p, i, pz, pz, i, ctypes.POINTER(i), pp, pz, pp]
    lib.kf_launch.restype = p
    lib.kf_wait.argtypes = [p, pp]
    lib.kf_event_ns.argtypes, lib.kf_event_ns.restype = [p], ctypes.c_uint64
    return lib


def take_text(lib: Library, pointer: ctypes.c_void_p) -> str:
    """Read and free a string that the shim allocated."""
    if not pointer.value:
        return ""
    text = ctypes.string_at(pointer.value).decode(errors="replace")
    lib.kf_free(pointer)
    return text


def take_bytes(lib: Library, pointer: ctypes.c_void_p, size: ctypes.c_size_t) -> bytes:
    """Read and free a buffer that the shim allocated."""
    assert pointer.value is not None
    data = ctypes.string_at(pointer.value, size.value)
    lib.kf_free(pointer)
    return data


def import_dpctl() -> Any:  # noqa: ANN401 - dpctl ships no types
    """Import dpctl with the CPU driver in sight.

    Raises:
        MissingPrerequisite: dpctl is not installed.
    """
    point_at_cpu_driver()
    try:
        import dpctl
        import dpctl.memory
    except ImportError as error:
        raise MissingPrerequisite(f"dpctl cannot be imported: {error}.", PIP_LINE) from error
    return dpctl


def list_devices() -> tuple[DeviceInfo, ...]:
    """All SYCL devices that kforge can use, best first.

    Call it in a child process: it loads the drivers into the caller.
    """
    dpctl = import_dpctl()
    found: list[DeviceInfo] = []
    for backend, kind in DEVICE_ORDER:
        for number, device in enumerate(dpctl.get_devices(backend=backend, device_type=kind)):
            found.append(_device_info(device, backend, kind, f"{backend}:{kind}:{number}"))
    return tuple(found)


def _device_info(device: Any, backend: str, kind: str, selector: str) -> DeviceInfo:  # noqa: ANN401
    is_cpu = kind == "cpu"
    sub_groups: list[int] = [int(size) for size in device.sub_group_sizes]
    # A work-group of the CPU device is one task of one core; "threads per SM" is its largest work-group.
    per_unit = int(device.max_work_group_size)
    return DeviceInfo(
        language="sycl",
        backend=backend,
        name=str(device.name).strip(),
        arch=f"{backend}-{kind}",
        driver=str(device.driver_version),
        sm_count=int(device.max_compute_units),
        max_work_group=per_unit,
        shared_per_sm=int(device.local_mem_size),
        shared_optin=int(device.local_mem_size),
        regs_per_sm=0,
        max_cluster=1,
        max_threads_per_sm=per_unit,
        warp_size=max(sub_groups, default=1) if not is_cpu else min(16, max(sub_groups, default=1)),
        l2_bytes=int(device.global_mem_cache_size),
        memory_bytes=int(device.global_mem_size),
        is_cpu=is_cpu,
        selector=selector,
    )
