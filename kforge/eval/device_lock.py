"""One measurement at a time on a card, whoever makes it: a file lock named after the card's UUID."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kforge.errors import InfraError
from kforge.types import DeviceInfo


@contextlib.contextmanager
def exclusive(device: DeviceInfo) -> Iterator[None]:
    """Hold the device; waits for another kforge on this machine that measures on it.

    The kernel drops the lock with the process, so a crash never leaves one behind.

    Raises:
        InfraError: the lock file cannot be opened.
    """
    if device.uuid is None:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"kforge-{device.uuid}.lock"
    try:
        # No O_CREAT on what is there: sticky directories refuse it for files of another user.
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            os.fchmod(descriptor, 0o666)
    except OSError as error:
        raise InfraError(
            f"The lock of {device.name}, {path}, cannot be opened: {error.strerror}.", f"rm {path}"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
