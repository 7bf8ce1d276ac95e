"""Files in a directory that others write to: whole or not at all when written, hostile when read."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kforge.codec import to_dict
from kforge.errors import MissingPrerequisite

MAX_FILE_BYTES = 8_000_000


class RefusedError(Exception):
    """A file is not what it should be; the message is for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A file as it was when it was looked at; another one under its name has another signature."""

    inode: int
    size: int
    changed_ns: int


def look(path: Path) -> Signature | None:
    """The signature of whatever lies there, unopened; None when there is nothing."""
    try:
        return _signature(os.lstat(path))
    except FileNotFoundError:
        return None


def read(path: Path) -> tuple[bytes, Signature]:
    """A plain file's bytes. Links, pipes and devices are not followed, waited for or read.

    Raises:
        FileNotFoundError: there is none.
        RefusedError: it is no plain file, too large, or not readable.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise RefusedError("it is not a plain file") from error
        if error.errno == errno.EACCES:
            raise RefusedError("kforge may not read it") from error
        raise
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise RefusedError("it is not a plain file")
        if found.st_size > MAX_FILE_BYTES:
            raise RefusedError(f"it is larger than {MAX_FILE_BYTES} bytes")
        with os.fdopen(number, "rb", closefd=False) as file:
            content = file.read(MAX_FILE_BYTES)  # it may grow meanwhile; its next signature will tell
    finally:
        os.close(number)
    return content, _signature(found)


def write(path: Path, value: object) -> None:
    """Write one JSON file so that nobody ever sees half of it, and that survives a power cut.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    text = json.dumps(to_dict(value), indent=1, ensure_ascii=False).encode("utf-8", "replace")
    draft = path.with_name(f".{path.name}.tmp")
    draft.unlink(missing_ok=True)  # of a killed session: a run has one driver, so nobody else writes it
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(number)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def require_writable(directory: Path, next_step: str) -> None:
    """Make a directory; refuse one that takes no files.

    Raises:
        MissingPrerequisite: with the cause and ``next_step``.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The directory {directory} cannot be made: {error.strerror}."
        raise MissingPrerequisite(message, next_step) from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise MissingPrerequisite(f"The directory {directory} is not writable.", next_step)


def _signature(found: os.stat_result) -> Signature:
    return Signature(found.st_ino, found.st_size, found.st_mtime_ns)
