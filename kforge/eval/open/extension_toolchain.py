"""The compilers and torch's headers that extensions are built with: found once, part of every address."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from kforge.errors import MissingPrerequisite

# For torch versions whose cpp_extension.py names none.
_DEFAULT_STD = "c++17"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What a build of an extension is told.

    Attributes:
        gxx: the C++ compiler.
        torch: torch's own directory; headers and libraries lie below it.
        python_include: directory of Python.h.
        std: language standard that this torch compiles extensions with.
        version: compilers, torch and the processor: everything here that can change the code.
    """

    gxx: Path
    torch: Path
    python_include: Path
    std: str
    version: str

    @property
    def include(self) -> tuple[Path, ...]:
        """Header directories of torch and Python, in search order."""
        home = self.torch / "include"
        return (home, home / "torch" / "csrc" / "api" / "include", self.python_include)


@dataclass(frozen=True, slots=True)
class Nvcc:
    """The CUDA compiler: program, toolkit directory, version, header and library directories."""

    program: Path
    home: Path
    version: str
    include: tuple[Path, ...]
    lib: tuple[Path, ...]


@cache
def toolchain() -> Toolchain:
    """Find g++ and torch, without importing torch.

    Raises:
        MissingPrerequisite: there is no C++ compiler or no torch; the message says how to get it.
    """
    gxx = shutil.which("g++")
    if gxx is None:
        raise MissingPrerequisite(
            "Extensions of open candidates need the C++ compiler g++; there is none on PATH.",
            "install it (Debian: apt install g++), or use --track sealed",
        )
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise MissingPrerequisite("torch is not installed.", "pip install torch")
    torch = Path(spec.origin).resolve().parent
    parts = (_first_line([gxx, "--version"]), f"torch {metadata.version('torch')}", _processor())
    return Toolchain(Path(gxx), torch, Path(sysconfig.get_path("include")), _std(torch), "; ".join(parts))


@cache
def nvcc() -> Nvcc:
    """Find nvcc: CUDA_HOME, the usual place, PATH, then the wheels of pip.

    Raises:
        MissingPrerequisite: there is none.
    """
    for home in _cuda_homes():
        program = home / "bin" / "nvcc"
        if os.access(program, os.X_OK):
            include = tuple(p for p in (home / "include",) if p.is_dir())
            lib = tuple(
                p
                for p in (home / "lib64", home / "lib", *_wheel_directories("lib"), home / "lib64" / "stubs")
                if p.is_dir()
            )
            version = _first_line([str(program), "--version"], matching="release")
            return Nvcc(program, home, version, (*include, *_wheel_directories("include")), lib)
    raise MissingPrerequisite(
        "CUDA extensions of open candidates need nvcc; CUDA_HOME, /usr/local/cuda and PATH have none.",
        "install the CUDA toolkit or the wheel nvidia-cuda-nvcc, or use --track sealed, which needs neither",
    )


def _cuda_homes() -> list[Path]:
    named = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = shutil.which("nvcc")
    places = [*map(Path, named), Path("/usr/local/cuda")]
    if on_path is not None:
        places.append(Path(on_path).resolve().parent.parent)
    places += [directory.parent for directory in _wheel_directories("bin")]
    return [place.resolve() for place in places if place.is_dir()]


def _wheel_directories(part: str) -> tuple[Path, ...]:
    """``include``, ``lib`` or ``bin`` of the CUDA wheels that torch came with (``nvidia/cu13``)."""
    home = Path(sysconfig.get_path("purelib")) / "nvidia"
    return tuple(sorted(path for path in home.glob(f"cu*/{part}") if path.is_dir()))


def _std(torch: Path) -> str:
    """The standard that torch's own ``load_inline`` would pass; its headers need it."""
    source = (torch / "utils" / "cpp_extension.py").read_text()
    found = re.search(r"'-std=(c\+\+\d\d)'", source)
    return _DEFAULT_STD if found is None else found[1]


def _first_line(command: list[str], matching: str = "") -> str:
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return next((line for line in shown.stdout.splitlines() if matching in line), "unknown")


def _processor() -> str:
    """The processor's model: ``-march=native`` makes the code depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
