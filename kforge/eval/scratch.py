"""Scratch directories that are gone when their process is, also after ``kill -9``.

Whoever makes one holds a lock on it, which the kernel drops with the process. Whoever makes the next one
removes those of the same kind that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Between making a directory and locking it nobody holds it: one as young as this is left alone.
YOUNG_S = 30.0


class Scratch:
    """One directory, made and locked by this process.

    Args:
        kind: first part of its name, such as ``kforge-build-``.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, kind: str) -> None:
        sweep(Path(tempfile.gettempdir()), kind)
        self.path = tempfile.mkdtemp(prefix=kind)
        self._descriptor: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove it with all that is in it; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(descriptor)


@contextlib.contextmanager
def scratch_directory(kind: str) -> Iterator[str]:
    """A directory for the time of a ``with`` block.

    Args:
        kind: first part of its name.
    """
    made = Scratch(kind)
    try:
        yield made.path
    finally:
        made.remove()


def sweep(folder: Path, kind: str) -> None:
    """Remove this user's directories of a kind that no living process holds.

    Args:
        folder: where they lie.
        kind: how their names begin.
    """
    now = time.time()  # compared with the file system's own times, so the wall clock it must be
    for entry in os.scandir(folder):
        if not entry.name.startswith(kind):
            continue
        with contextlib.suppress(OSError):
            found = entry.stat(follow_symlinks=False)
            if found.st_uid == os.geteuid() and now - found.st_mtime > YOUNG_S:
                _remove_unless_held(entry.path)


def _remove_unless_held(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
