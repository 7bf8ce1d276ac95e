"""What a Triton candidate needs of its process: files, programs and variables.

``@triton.jit`` compiles when a kernel is first called, inside the candidate's process: Triton's own LLVM
makes PTX, ``ptxas`` of its wheel makes machine code, and a C compiler builds a small launcher against
Python.h and libcuda. So the process must be allowed to start these programs, unlike that of any other
candidate.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from kforge.errors import MissingPrerequisite
from kforge.eval.sandbox import FileAccess
from kforge.types import ScreenedOut

# The compiler's parts (cc1, as, collect2) and the C library's headers lie below these.
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives", "/proc", "/sys", "/dev")
_LIBCUDA = "libcuda.so.1"
_LIBRARY_PLACES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/wsl/lib",
)


def uses_triton(text: str) -> bool:
    """Whether the candidate imports triton, anywhere."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(alias.name.split(".")[0] == "triton" for alias in names):
                return True
            case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] == "triton":
                return True
            case _:
                pass
    return False


def triton_access() -> FileAccess:
    """Paths that the sandbox of a Triton candidate must let it read and execute.

    Its cache and temporary files go into the candidate's scratch directory, which is writable anyway.

    Raises:
        MissingPrerequisite: triton or a C compiler is not installed.
    """
    return FileAccess(
        read=(
            str(_package()),
            str(Path(sysconfig.get_path("include"))),
            sys.prefix,
            sys.base_prefix,
            *_SYSTEM,
        )
    )


def triton_environment(scratch: Path) -> Mapping[str, str]:
    """Variables for a Triton candidate: a private cache, the compiler, the driver's directory.

    The last spares it a run of ``ldconfig``; it is left out where the driver lies elsewhere.

    Args:
        scratch: the candidate's own writable directory.

    Raises:
        MissingPrerequisite: there is no C compiler.
    """
    variables = {"TRITON_CACHE_DIR": str(scratch / "triton"), "TRITON_HOME": str(scratch), "CC": _compiler()}
    found = next((place for place in _LIBRARY_PLACES if os.path.exists(f"{place}/{_LIBCUDA}")), None)
    return variables if found is None else variables | {"TRITON_LIBCUDA_PATH": found}


def refuse_without_triton(text: str) -> ScreenedOut | None:
    """Why a Triton candidate cannot run on this machine; None when it can, or when it is none."""
    if not uses_triton(text):
        return None
    try:
        triton_access()
        _compiler()
    except MissingPrerequisite as error:
        return ScreenedOut(f"{error.message} Next: {error.next_step}", "triton")
    return None


def _package() -> Path:
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        raise MissingPrerequisite(
            "The candidate imports triton, which is not installed here.",
            "pip install triton (CUDA builds of torch bring it), or write the kernel in CUDA",
        )
    return Path(spec.origin).resolve().parent


def _compiler() -> str:
    for name in ("gcc", "cc", "clang"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise MissingPrerequisite(
        "Triton builds a launcher with a C compiler; neither gcc, cc nor clang is on PATH.",
        "install one (Debian: apt install gcc)",
    )
