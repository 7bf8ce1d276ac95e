"""A control group for one open candidate: memory and processes of all it starts together, where writable."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

PREFIX = "kforge-open-"
REMOVE_LIMIT_S = 5.0
_ROOT = Path("/sys/fs/cgroup")


class ControlGroup:
    """Folders of the kernel's file system, one per hierarchy; remove them when the candidate is gone.

    Args:
        folders: made, and limited.
    """

    def __init__(self, folders: tuple[str, ...]) -> None:
        self.folders = folders

    def remove(self) -> None:
        """Remove the folders; their processes must be gone, which the kernel may learn a little late."""
        deadline = time.monotonic() + REMOVE_LIMIT_S
        for folder in self.folders:
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > deadline:
                        return
                    time.sleep(0.01)


def make(memory_bytes: int, processes: int) -> ControlGroup | None:
    """A group with limits; None where this process may make none.

    Args:
        memory_bytes: of all processes in it, page cache and scratch included.
        processes: processes and threads in it.
    """
    made: list[str] = []
    try:
        for parent, limits in _parents(memory_bytes, processes):
            folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
            made.append(folder)
            for name, value in limits.items():
                (Path(folder) / name).write_text(str(value))
    except OSError:
        ControlGroup(tuple(made)).remove()
        return None
    return ControlGroup(tuple(made)) if made else None


def join(folders: list[str]) -> bool:
    """Put this process into the groups, before it starts any other and gives up the right to."""
    try:
        for folder in folders:
            (Path(folder) / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return False
    return bool(folders)


def machine_memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _parents(memory_bytes: int, processes: int) -> list[tuple[Path, dict[str, int]]]:
    """Where groups are made, and what limits are called there: version 2 of the interface, else version 1."""
    own = _own_groups()
    if (_ROOT / "cgroup.controllers").exists():
        parent = _ROOT / own.get("", "").lstrip("/")
        with contextlib.suppress(OSError):  # perhaps it is on already
            (parent / "cgroup.subtree_control").write_text("+memory +pids")
        return [(parent, {"memory.max": memory_bytes, "pids.max": processes})]
    places = {"memory": {"memory.limit_in_bytes": memory_bytes}, "pids": {"pids.max": processes}}
    return [(_ROOT / name / own.get(name, "").lstrip("/"), limits) for name, limits in places.items()]


def _own_groups() -> dict[str, str]:
    """Controller to this process's group; the empty name is that of version 2."""
    found: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found
