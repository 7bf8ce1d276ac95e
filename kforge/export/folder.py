"""Writing the folder of an export: whole or not at all, and never over something that is no export."""

from __future__ import annotations

import contextlib
import hashlib
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kforge.errors import UsageError

MARK = "export.json"
RUNTIME = Path(__file__).parent / "runtime"
COMMON = (
    "contents.py", "drawing.py", "fast_path.py", "guard.py", "memory.py", "model_new.py", "operators.py",
    "runners.py", "scalars.py", "test_export.py", "timing.py",
)  # fmt: skip
BY_LANGUAGE: Mapping[str, tuple[str, ...]] = {
    "cuda": ("cuda_driver.py", "cuda_launch.py", "cuda_runner.py"),
    "sycl": ("sycl_library.py", "sycl_runner.py", "sycl_shim.cpp"),
}
_TAKEN = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "kforge", "pytest", "_pytest"}
LICENCE_LINE = "# SPDX-License-Identifier: Apache-2.0 (written by kforge export)\n"


def checked_folder(out: Path, force: bool) -> Path:
    """The folder to write, if it may be written.

    Raises:
        UsageError: its name cannot be imported, it is there already, or its parent cannot be written.
    """
    folder = Path(os.path.abspath(out.expanduser()))
    name = folder.name
    if not _importable(name):
        legal = re.sub(r"\W+", "_", name).strip("_")
        better = out.with_name(legal if _importable(legal) else f"kernels_{legal}".rstrip("_"))
        raise UsageError(
            f"--out {out}: the folder is a Python package, and {name!r} cannot be its name.",
            f"use --out {better}",
        )
    if folder.exists() or folder.is_symlink():
        mine = folder.is_dir() and not folder.is_symlink() and (folder / MARK).is_file()
        empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
        if not mine and not empty:
            raise UsageError(
                f"{folder} is there and was not written by kforge export; --force does not replace it.",
                "choose another --out",
            )
        if mine and not force:
            raise UsageError(f"{folder} holds an export already.", "add --force, or choose another --out")
    parent = next(p for p in folder.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{folder} cannot be made: {parent} is not a writable directory.", "choose another --out"
        )
    return folder


def _importable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name not in _TAKEN


def runtime_files(language: str) -> dict[str, bytes]:
    """The files that every export of a language carries as they are."""
    found = {}
    for name in (*COMMON, *BY_LANGUAGE[language]):
        text = (RUNTIME / name).read_text(encoding="utf-8")
        mark = LICENCE_LINE if name.endswith(".py") else LICENCE_LINE.replace("#", "//", 1)
        found[name] = (mark + text).encode()
    return found


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of every file, by name."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside the folder and put the whole in its place.

    Raises:
        UsageError: the disk refuses.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            for name, data in files.items():
                (partial / name).write_bytes(data)
            partial.chmod(0o755)
            old = partial.with_name(partial.name + ".old")
            if folder.exists():
                os.replace(folder, old)
            os.replace(partial, folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(partial)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}.", "choose another --out") from error
