"""One benchmark at a time on a card, whoever makes it: a file lock named after the card's UUID.

Checks, references and compilers share the lock with each other; a benchmark has it alone, so that nothing
else of any kforge on this machine runs on the card meanwhile. The kernel drops a lock with its process.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType

from kforge.errors import InfraError
from kforge.types import DeviceInfo


def lock_path(device: DeviceInfo) -> str | None:
    """The device's lock file; None for devices without a UUID, which nobody shares."""
    if device.uuid is None:
        return None
    return str(Path(tempfile.gettempdir()) / f"kforge-{device.uuid}.lock")


class DeviceLock:
    """A device's lock, not held at first; a context manager that lets go of it at the end.

    Args:
        path: of the lock file; None holds nothing and never waits.

    Raises:
        InfraError: the lock file cannot be opened.
    """

    def __init__(self, path: str | None) -> None:
        self._descriptor = None if path is None else _open(path)

    def share(self) -> None:
        """Use the device beside others; waits for a benchmark to end."""
        self._take(fcntl.LOCK_SH)

    def claim(self) -> None:
        """Have the device alone; waits for everyone else. What was shared is let go of first."""
        self._take(fcntl.LOCK_EX)

    def release(self) -> None:
        """Let others have the device."""
        self._take(fcntl.LOCK_UN)

    def _take(self, how: int) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, how)

    def __enter__(self) -> DeviceLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Without O_CREAT first: in a sticky directory it is refused for files of another user.
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o666)
            os.fchmod(descriptor, 0o666)
            return descriptor
    except OSError as error:
        raise InfraError(
            f"The device's lock {path} cannot be opened: {error.strerror}.", f"rm {path}"
        ) from error
