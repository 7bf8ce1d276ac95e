"""Where the CUDA compiler's parts lie: NVRTC, headers, disassembler. Wheels first, then a toolkit.

A build needs neither GPU nor driver nor toolkit: ``pip install 'kforge[cuda]'`` brings everything. A GPU box
that can install little may have torch's own CUDA wheels and a toolkit, which serve as well.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kforge.errors import InfraError, MissingPrerequisite
from kforge.eval.cuda_driver import PIP_LINE

SHIM_HEADERS = Path(__file__).with_name("nvrtc_headers")


@dataclass(frozen=True, slots=True)
class Toolkit:
    """What a build child is told.

    Attributes:
        include: header directories, in search order.
        nvdisasm: the disassembler; may lack its run bit.
        version: of NVRTC, part of every build's address.
        libraries: directory of NVRTC itself.
    """

    include: tuple[str, ...]
    nvdisasm: Path
    version: str
    libraries: Path


@cache
def toolkit() -> Toolkit:
    """Find the parts.

    Raises:
        MissingPrerequisite: one is missing; the message names it.
    """
    try:
        from cuda import pathfinder
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise MissingPrerequisite(f"The CUDA compiler is not installed: {error}.", PIP_LINE) from error
    try:
        library = pathfinder.load_nvidia_dynamic_lib("nvrtc")
    except (RuntimeError, OSError) as error:
        raise MissingPrerequisite("NVRTC (wheel nvidia-cuda-nvrtc) is not installed.", PIP_LINE) from error
    status, major, minor = nvrtc.nvrtcVersion()
    if int(status) != 0:
        raise MissingPrerequisite(f"NVRTC at {library.abs_path} does not answer: {status}.", PIP_LINE)
    version = f"nvrtc-{major}.{minor}"
    return Toolkit(_include(pathfinder), _nvdisasm(pathfinder), version, Path(library.abs_path).parent)


def _include(pathfinder: Any) -> tuple[str, ...]:  # noqa: ANN401
    found = [str(SHIM_HEADERS)]
    for name in ("cudart", "cccl"):
        place = _asked(pathfinder.find_nvidia_header_directory, name)
        if place is not None:
            found.append(place)
    for home in _homes():
        for folder in (home / "include", home / "include" / "cccl"):
            if folder.is_dir() and str(folder) not in found:
                found.append(str(folder))
    for header, wheel in (("cuda_fp16.h", "runtime"), ("crt/mma.h", "crt"), ("cuda/std/cstdint", "cccl")):
        if not any((Path(place) / header).exists() for place in found):
            raise MissingPrerequisite(
                f"The CUDA header {header} (wheel nvidia-cuda-{wheel}) is missing.", PIP_LINE
            )
    return tuple(found)


def _nvdisasm(pathfinder: Any) -> Path:  # noqa: ANN401
    found = _asked(pathfinder.find_nvidia_binary_utility, "nvdisasm")
    candidates = ([Path(found)] if found else []) + [home / "bin" / "nvdisasm" for home in _homes()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise MissingPrerequisite("nvdisasm (wheel nvidia-cuda-nvdisasm) is not installed.", PIP_LINE)


def _asked(search: Any, name: str) -> str | None:  # noqa: ANN401
    try:
        found = search(name)
    except RuntimeError:
        return None
    return None if found is None else str(found)


def _homes() -> list[Path]:
    named = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    return [Path(place) for place in (*named, "/usr/local/cuda")]


def runnable_nvdisasm(cache_dir: Path) -> Path:
    """The disassembler with its run bit; a copy in the cache where the wheel left the bit out.

    Raises:
        MissingPrerequisite: there is none.
        InfraError: the cache cannot be written.
    """
    original = toolkit().nvdisasm
    if os.access(original, os.X_OK):
        return original
    copy = cache_dir / "tools" / toolkit().version / "nvdisasm"
    if not copy.exists():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_suffix(f".{os.getpid()}")
            shutil.copyfile(original, partial)
            partial.chmod(0o755)
            os.replace(partial, copy)
        except OSError as error:
            raise InfraError(
                f"The cache {copy.parent} cannot be written: {error.strerror}.",
                "free space there, or point KFORGE_CACHE at another directory",
            ) from error
    return copy
