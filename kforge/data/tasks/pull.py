"""Fetching a public task set into the cache: pinned, checked file by file, put in place in one step."""

from __future__ import annotations

import http.client
import io
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kforge.data.tasks.registry import MAX_TASK_BYTES
from kforge.data.tasks.sources import Source
from kforge.errors import InfraError, UsageError

ARCHIVES = "https://codeload.github.com"
TIMEOUT_S = 60.0
MAX_ARCHIVE_BYTES = 100_000_000
MAX_UNPACKED_BYTES = 1_000_000_000
_SHOWN = 5

Fetch = Callable[[str], bytes]


class DownloadFailed(Exception):
    """What a ``Fetch`` raises; ``pull`` says what to do instead."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """Where the files are, and whether this call put them there."""

    directory: Path
    files: int
    fresh: bool
    pinned: bool


def fetch_archive(path: str, base_url: str = ARCHIVES) -> bytes:
    """Download ``base_url/path``, within a time and a size limit.

    Raises:
        DownloadFailed: no connection, a refusal, or more bytes than an archive of tasks can have.
    """
    url = f"{base_url}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            raw: bytes = response.read(MAX_ARCHIVE_BYTES + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:  # time-outs, too
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or error
        raise DownloadFailed(f"Cannot download {url}: {reason}") from error
    if len(raw) > MAX_ARCHIVE_BYTES:
        raise DownloadFailed(f"{url} is larger than {MAX_ARCHIVE_BYTES:,} bytes")
    return raw


def pull(source: Source, root: Path, fetch: Fetch = fetch_archive) -> Pulled:
    """Download the pinned revision unless the cache already holds it undamaged.

    Args:
        source: the task set.
        root: the cache's directory of task sets.
        fetch: gets an archive by its path on the server.

    Raises:
        InfraError: offline, or the archive is not the pinned one; the message names the files.
    """
    target = root / source.directory
    if not source.differing(_read_directory(source, target)):
        _forget_unpinned(source, root)
        return Pulled(target, len(source.files), fresh=False, pinned=True)
    try:
        archive = fetch(source.archive_path)
    except DownloadFailed as error:
        raise InfraError(f"{error}.", _offline(source)) from error
    found = _unpack(archive, source)
    wrong = source.differing(found)
    if wrong:
        raise InfraError(
            f"The archive of {source.repository} at {source.revision[:12]} is damaged: {_some(wrong)}.",
            "Type it again; if it stays so, clone the repository and pass --from DIR",
        )
    _install(found, target)
    _forget_unpinned(source, root)
    return Pulled(target, len(found), fresh=True, pinned=True)


def pull_from(source: Source, root: Path, directory: Path, unpinned: bool = False) -> Pulled:
    """Take the task files from a local checkout: the repository, or its folder of tasks.

    Args:
        source: the task set.
        root: the cache's directory of task sets.
        directory: the checkout; it is only read.
        unpinned: take the files although they are not those of the pinned revision.

    Raises:
        UsageError: no such checkout, or its files differ and ``unpinned`` is false.
    """
    checkout = _checkout(source, directory)
    found = _read_directory(source, checkout)
    wrong = source.differing(found)
    if not wrong:
        _install(found, root / source.directory)
        _forget_unpinned(source, root)
        return Pulled(root / source.directory, len(found), fresh=True, pinned=True)
    if not unpinned:
        raise UsageError(
            f"{checkout} is not {source.repository} at {source.revision[:12]}: {_some(wrong)}.",
            f"git -C {checkout} checkout {source.revision}, or pass --unpinned to take these files",
        )
    if not found:
        raise UsageError(f"{checkout} holds none of the task files of {source.repository}.", "Check DIR.")
    _install(found, root / source.unpinned_directory)
    return Pulled(root / source.unpinned_directory, len(found), fresh=True, pinned=False)


def _offline(source: Source) -> str:
    clone = f"git clone https://github.com/{source.repository}"
    return f"Where there is a network: {clone}; then here: kforge tasks pull {source.name} --from DIR"


def _some(wrong: list[str]) -> str:
    rest = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return ", ".join(wrong[:_SHOWN]) + rest


def _checkout(source: Source, directory: Path) -> Path:
    """The directory in which the paths of ``source.files`` start."""
    if (directory / source.folder).is_dir():
        return directory
    if directory.is_dir() and directory.resolve().name == source.folder:
        return directory.resolve().parent
    raise UsageError(
        f"{directory} is no checkout of {source.repository}: it has no folder {source.folder}/.",
        f"git clone https://github.com/{source.repository}, and pass that directory to --from",
    )


def _read_directory(source: Source, directory: Path) -> dict[str, bytes]:
    """The source's files as far as they are there."""
    found = {}
    for path in source.files:
        file = directory / path
        try:
            if file.is_file() and file.stat().st_size <= MAX_TASK_BYTES:
                found[path] = file.read_bytes()
        except OSError as error:
            raise UsageError(f"Cannot read {file}: {error.strerror}.", f"ls -l {file}") from error
    return found


def _unpack(archive: bytes, source: Source) -> dict[str, bytes]:
    """The source's files out of a gzipped tar.

    Nothing is extracted to disk: only regular members whose path is a pinned one are read, into memory,
    so links, absolute paths and ``..`` have no effect.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=_Capped(archive), mode="r|gz") as tar:
            for member in tar:
                path = member.name.partition("/")[2]  # below the folder REPOSITORY-REVISION
                if not member.isreg() or path not in source.files or member.size > MAX_TASK_BYTES:
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    found[path] = stream.read()
                if tar.offset > MAX_UNPACKED_BYTES:
                    raise tarfile.ReadError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InfraError(
            f"What came for {source.archive_path} is no archive: {error}.", _offline(source)
        ) from error
    return found


class _Capped(io.BytesIO):
    """The archive's bytes; a class of its own so that tarfile never asks for a file name."""

    name = None


def _install(found: Mapping[str, bytes], target: Path) -> None:
    """Write the files beside ``target``, then put them in its place by renaming."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for path, content in found.items():
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                (fresh / path).write_bytes(content)
            fresh.chmod(0o755)
            if target.exists():
                os.rename(target, fresh / ".before")
            os.rename(fresh, target)
            shutil.rmtree(target / ".before", ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise InfraError(
            f"Cannot write {target}: {error.strerror}.", "export KFORGE_CACHE=/a/writable/dir"
        ) from error


def _forget_unpinned(source: Source, root: Path) -> None:
    """A pinned pull replaces an earlier unpinned one, which would win otherwise."""
    shutil.rmtree(root / source.unpinned_directory, ignore_errors=True)
