"""``kforge doctor``: what works here, and the command that fixes what does not."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from kforge.cli.options import JsonOption, StoreOption, chosen_store
from kforge.cli.output import print_json
from kforge.errors import KforgeError, MissingPrerequisite

if TYPE_CHECKING:
    from kforge.config import Places


@dataclass(frozen=True, slots=True)
class Row:
    """One check. ``required`` rows decide the exit code."""

    check: str
    ok: bool
    found: str
    fix: str
    required: bool = True


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check interpreter, compilers, devices, sandbox, store. Exit code 2: something is missing."""
    from kforge.config import places

    here = places()
    cuda, has_card = _cuda()
    rows = [
        _python(),
        _torch(),
        _compiler(not has_card),
        _cache(here),
        *_sycl(here, not has_card),
        *cuda,
        *_sandbox(),
        *_open_track(),
        _store(chosen_store(store)),
    ]
    if as_json:
        print_json(
            [
                {
                    "check": r.check,
                    "ok": r.ok,
                    "found": r.found,
                    "fix": None if r.ok else r.fix,
                    "required": r.required,
                }
                for r in rows
            ]
        )
    else:
        width = max(len(row.check) for row in rows)
        for row in rows:
            mark = "ok  " if row.ok else "FAIL" if row.required else "note"
            print(f"{mark}  {row.check:<{width}}  {row.found}")
            if not row.ok:
                print(f"      {'':<{width}}  fix: {row.fix}")
    if any(r.required and not r.ok for r in rows):
        raise typer.Exit(2)


def _python() -> Row:
    version = ".".join(map(str, sys.version_info[:3]))
    return Row("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _torch() -> Row:
    from importlib import metadata

    fix = "pip install torch==2.13.0 (CPU build: --index-url https://download.pytorch.org/whl/cpu)"
    try:
        return Row("torch", True, metadata.version("torch"), fix)
    except metadata.PackageNotFoundError:
        return Row("torch", False, "not installed", fix)


def _compiler(required: bool) -> Row:
    path = shutil.which("g++")
    return Row("g++", path is not None, path or "not on the PATH", "apt-get install g++", required)


def _sycl(here: Places, required: bool) -> list[Row]:
    from kforge.eval.sycl_runtime import PIP_LINE, ensure_shim, runtime_version
    from kforge.workers.hardware import detect_devices

    try:
        rows = [Row("sycl runtime", True, runtime_version(), PIP_LINE)]
        from kforge.api.files import writable

        rows.append(Row("sycl shim", True, str(ensure_shim(writable(here.cache))), PIP_LINE))
        devices = detect_devices("sycl")
    except KforgeError as error:
        return [Row("sycl", False, error.message, error.next_step, required)]
    listed = ", ".join(f"{d.selector} {d.name}" for d in devices) or "none"
    rows.append(Row("sycl devices", bool(devices), listed, f"{PIP_LINE} (brings the OpenCL CPU device)"))
    return rows


def _cuda() -> tuple[list[Row], bool]:
    """The rows of CUDA, and whether there is a card: then kforge works here without SYCL."""
    from kforge.eval.cuda_driver import PIP_LINE
    from kforge.eval.cuda_toolkit import toolkit
    from kforge.workers.hardware import detect_devices

    try:
        tools = toolkit()
        rows = [Row("cuda compiler", True, f"{tools.version} at {tools.libraries}", PIP_LINE, False)]
        devices = detect_devices("cuda")
    except KforgeError as error:
        return [Row("cuda", False, error.message, error.next_step, False)], False
    listed = ", ".join(f"{d.selector} {d.name} ({d.arch}, {d.driver})" for d in devices) or "none"
    fix = "candidates are built and not run here; use a machine with an NVIDIA GPU and driver"
    rows.append(Row("cuda devices", bool(devices), listed, fix, False))
    if devices:
        rows.append(_torch_for_cuda())
    return rows, bool(devices)


def _torch_for_cuda() -> Row:
    """Whether torch is built for CUDA, told from its files: importing it takes seconds."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("torch")
    place = Path(spec.origin).parent / "lib" / "libtorch_cuda.so" if spec and spec.origin else None
    ok = place is not None and place.exists()
    found = "built with CUDA" if ok else "a CPU build"
    return Row("torch cuda", ok, found, "pip install --force-reinstall torch (PyPI's build brings CUDA)")


_USER_NAMESPACES = "sysctl kernel.unprivileged_userns_clone=1, or run as root"
_LAYER_FIXES = {
    "landlock": "use a kernel of 5.13 or newer with Landlock enabled",
    "network_namespace": _USER_NAMESPACES,
    "process_namespace": _USER_NAMESPACES,
    "namespaces": _USER_NAMESPACES,
    "private_mounts": _USER_NAMESPACES,
    "seccomp": "use a kernel with seccomp filters",
    "control_group": "run as root, or where /sys/fs/cgroup is writable",
}


def _sandbox() -> list[Row]:
    from kforge.eval.sandbox import layers

    return _layers("sandbox", layers(), "docs/candidate.md")


def _open_track() -> list[Row]:
    """A missing layer is named in every result, and refused with ``--require-sandbox``."""
    from kforge.eval.open.layers_here import layers_here

    return _layers("open track", layers_here(), "docs/open-track.md")


def _layers(where: str, found: dict[str, bool], page: str) -> list[Row]:
    return [
        Row(
            f"{where} {name}",
            ok,
            "works" if ok else "not available here",
            _LAYER_FIXES.get(name, f"see {page}"),
            False,
        )
        for name, ok in found.items()
    ]


def _cache(here: Places) -> Row:
    try:
        from kforge.api.files import writable

        free_gib = shutil.disk_usage(writable(here.cache)).free / 2**30
    except MissingPrerequisite as error:
        return Row("build cache", False, error.message, error.next_step)
    fix = f"free space on the disk of {here.cache}"
    return Row("build cache", free_gib > 1, f"{here.cache}, {free_gib:.0f} GiB free", fix)


def _store(url: str) -> Row:
    from kforge.data.store import Store

    try:
        with Store.open(url) as opened:
            return Row("store", True, f"{opened.url}, {len(opened.list_runs())} runs", "")
    except KforgeError as error:
        return Row("store", False, error.message, error.next_step)
