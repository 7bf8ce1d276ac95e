"""Namespaces of an open candidate: no network, no others' processes, mounts and queues of its own."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Left:
    """Which namespaces were left: network, mounts and queues; processes (from the next child on)."""

    others: bool
    processes: bool


def leave(shared: frozenset[str] = frozenset()) -> Left:
    """Enter new namespaces, through a user namespace where this is not root.

    Args:
        shared: of "processes" and "queues" those that are not left.
    """
    user, group = os.getuid(), os.getgid()
    through = 0 if user == 0 else CLONE_NEWUSER
    queues = 0 if "queues" in shared else CLONE_NEWIPC
    others = _LIBC.unshare(CLONE_NEWNS | CLONE_NEWNET | queues | through) == 0
    if through and others:
        for name, text in (
            ("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"),
        ):  # fmt: skip
            try:
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
            except OSError:
                others = False
    own_processes = "processes" not in shared and _LIBC.unshare(CLONE_NEWPID) == 0
    return Left(others, own_processes)


def private_mounts(scratch: str, scratch_bytes: int, *, own_processes: bool) -> bool:
    """A bounded scratch of its own; empty /run and /dev/shm; /proc of its own processes alone."""
    if _mount(None, "/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    plain = MS_NOSUID | MS_NODEV
    done = _mount("tmpfs", scratch, "tmpfs", plain, f"size={scratch_bytes},mode=777") == 0
    # Sockets of services lie here, and Landlock does not govern who connects to one.
    for place in ("/run", "/dev/shm"):
        if os.path.isdir(place):
            done = _mount("tmpfs", place, "tmpfs", plain | MS_RDONLY | MS_NOEXEC, "size=0") == 0 and done
    if own_processes:
        done = _mount("proc", "/proc", "proc", plain | MS_NOEXEC, None) == 0 and done
    return done


def clear_the_way(paths: Iterable[str]) -> bool:
    """Make directories reachable that lie below one closed to others, and nothing else in there.

    A Python below /root would else be lost to a candidate that is not root. An empty directory takes the
    place of the closed one, and only the paths are mounted into it.
    """
    closed: dict[str, list[str]] = {}
    for path in {os.path.realpath(path) for path in paths}:
        ancestor = _closed_ancestor(path)
        if ancestor is not None:
            closed.setdefault(ancestor, []).append(path)
    for ancestor, inside in closed.items():
        kept = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in sorted(inside)]
        try:
            if _mount("tmpfs", ancestor, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755") != 0:
                return False
            for path, descriptor in kept:
                os.makedirs(path, exist_ok=True)
                if _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC, None) != 0:
                    return False
        finally:
            for _, descriptor in kept:
                os.close(descriptor)
    return True


def _closed_ancestor(path: str) -> str | None:
    """The topmost directory above a path that others may not pass through."""
    parts = Path(path).parts
    for end in range(2, len(parts)):
        above = str(Path(*parts[:end]))
        if not os.stat(above).st_mode & 0o001:
            return above
    return None


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None) -> int:
    def text(word: str | None) -> bytes | None:
        return None if word is None else word.encode()

    return int(_LIBC.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data)))
