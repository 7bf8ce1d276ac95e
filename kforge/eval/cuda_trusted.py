"""The referee's own kernels, compiled once per architecture and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from kforge.errors import InfraError, MissingPrerequisite
from kforge.eval.cuda_driver import PIP_LINE

SOURCE = Path(__file__).with_name("trusted.cu")


def trusted_module(cache_dir: Path, arch: str) -> Path:
    """Path of the cubin of ``trusted.cu`` for an architecture, compiled at the first call.

    Raises:
        MissingPrerequisite: the cuda extra is not installed.
        InfraError: the cache cannot be written.
    """
    text = SOURCE.read_text()
    name = hashlib.sha256(f"{arch}\n{text}".encode()).hexdigest()[:16]
    path = cache_dir / "trusted" / f"{arch}-{name}" / "trusted.cubin"
    if path.exists():
        return path
    try:
        from cuda.core import Program, ProgramOptions
    except ImportError as error:
        raise MissingPrerequisite(
            "The CUDA compiler (wheel cuda-core) is not installed.", PIP_LINE
        ) from error
    code = bytes(Program(text, "c++", ProgramOptions(arch=arch, std="c++17")).compile("cubin").code)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(code)
        os.replace(partial, path)
        path.chmod(0o644)
    except OSError as error:
        raise InfraError(
            f"The cache {path.parent} cannot be written: {error.strerror}.",
            "free space there, or point KFORGE_CACHE at another directory",
        ) from error
    return path
