"""The SYCL runtime through a small C++ shim, which g++ builds when it is first needed (about 3 s, once).

Needs the wheels intel-sycl-rt and intel-opencl-rt, and g++. The shim is built here and not shipped: it
belongs to one version of the runtime and one place on the disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from .contents import HERE, intact
from .runners import Unavailable

_SOURCE = "sycl_shim.cpp"
_PIP_LINE = "pip install intel-sycl-rt intel-opencl-rt"


def load_library() -> Any:  # noqa: ANN401 - a ctypes library
    """The shim, built if it is missing, with its functions declared.

    Raises:
        Unavailable: a wheel or the compiler is missing, or the compiler failed.
    """
    prefix = _prefix()
    driver = prefix / "lib" / "libintelocl.so"
    if driver.exists():  # the wheel's own list of drivers names another prefix
        os.environ.setdefault("OCL_ICD_FILENAMES", str(driver))
    try:
        library = ctypes.CDLL(str(_built(prefix)))
    except OSError as error:
        raise Unavailable("runtime", f"the SYCL runtime cannot be loaded: {error}") from error
    p, i, z = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    pp = ctypes.POINTER(p)
    library.kx_free.argtypes = [p]
    library.kx_open.argtypes, library.kx_open.restype = [i, pp, ctypes.POINTER(i), pp], p
    library.kx_load.argtypes, library.kx_load.restype = [p, p, z, pp], p
    library.kx_kernel.argtypes, library.kx_kernel.restype = [p, ctypes.c_char_p, pp], p
    library.kx_launch.argtypes = [p, p, i, p, p, i, p, p, p, pp]
    library.kx_launch.restype = p
    library.kx_wait.argtypes = [p, pp]
    library.kx_event_ns.argtypes, library.kx_event_ns.restype = [p], ctypes.c_uint64
    return library


def take_text(library: Any, pointer: ctypes.c_void_p) -> str:  # noqa: ANN401
    """Read and free a string that the shim allocated."""
    if not pointer.value:
        return ""
    text = ctypes.string_at(pointer.value).decode(errors="replace")
    library.kx_free(pointer)
    pointer.value = None
    return text


def _prefix() -> Path:
    """Where the wheels' ``include`` and ``lib`` are."""
    try:
        files = metadata.files("intel-sycl-rt") or []
    except metadata.PackageNotFoundError as error:
        raise Unavailable("runtime", f"the SYCL runtime is not installed: {_PIP_LINE}") from error
    for entry in files:
        if re.fullmatch(r"libsycl\.so\.\d+", entry.name):
            return Path(str(entry.locate())).resolve().parent.parent
    raise Unavailable("runtime", f"the wheel intel-sycl-rt holds no libsycl.so: {_PIP_LINE}")


def _built(prefix: Path) -> Path:
    source = intact(_SOURCE)
    identity = source + f"{metadata.version('intel-sycl-rt')} {prefix}".encode()
    name = f"shim-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    found = HERE / "_built" / name
    if found.exists():
        return found
    try:
        found.parent.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=found.parent))
    except OSError:  # an installed package may be read-only: then every process builds its own
        folder = Path(tempfile.mkdtemp(prefix="kernel-shim-"))
        found = folder / name
    _compile(prefix, folder / "building.so")
    os.replace(folder / "building.so", found)
    if found.parent != folder:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _compile(prefix: Path, target: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        raise Unavailable("runtime", "g++ is not on the PATH: apt-get install g++")
    library = next(iter(sorted((prefix / "lib").glob("libsycl.so.[0-9]"))), prefix / "lib" / "libsycl.so")
    command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-w", f"-I{prefix / 'include'}"]
    command += [str(HERE / _SOURCE), "-o", str(target), f"-L{prefix / 'lib'}", f"-l:{library.name}"]
    command += [f"-Wl,-rpath,{prefix / 'lib'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable("runtime", f"g++ could not build {_SOURCE}: {tail}")
