"""Fetching a public task set into the cache: pinned, checked file by file, put in place in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kforge.data.tasks.archive import BadArchive, read_archive
from kforge.data.tasks.download import DownloadFailed, Fetch, fetch_archive
from kforge.data.tasks.pulled import discovered, task_id_of
from kforge.data.tasks.registry import MAX_TASK_BYTES, read_task
from kforge.data.tasks.sources import Source
from kforge.errors import InfraError, UsageError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pulled:
    """Where the files are, and whether this call put them there."""

    directory: Path
    files: int
    fresh: bool
    pinned: bool


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
    if not source.differing(_read_files(target, source.files)):
        _forget_unpinned(source, root)
        return Pulled(target, len(source.files), fresh=False, pinned=True)
    try:
        found = read_archive(fetch(source.archive_path), source.files, MAX_TASK_BYTES)
    except DownloadFailed as error:
        raise InfraError(f"{error}.", _offline(source)) from error
    except BadArchive as error:
        raise InfraError(
            f"What came for {source.archive_path} is no archive of tasks: {error}.", _offline(source)
        ) from error
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
    found = _read_files(checkout, source.files)
    wrong = source.differing(found)
    if not wrong:
        fresh = _install(found, root / source.directory)
        _forget_unpinned(source, root)
        return Pulled(root / source.directory, len(found), fresh=fresh, pinned=True)
    if not unpinned:
        raise UsageError(
            f"{checkout} is not {source.repository} at {source.revision[:12]}: {_some(wrong)}.",
            f"git -C {shlex.quote(str(checkout))} checkout {source.revision}, "
            "or pass --unpinned to take these files",
        )
    found = _read_tasks(source, checkout)
    fresh = _install(found, root / source.unpinned_directory)
    return Pulled(root / source.unpinned_directory, len(found), fresh=fresh, pinned=False)


def _offline(source: Source) -> str:
    clone = f"git clone https://github.com/{source.repository}"
    return f"Where there is a network: {clone}; then here: kforge tasks pull {source.name} --from DIR"


def _some(wrong: list[str]) -> str:
    rest = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return ", ".join(wrong[:_SHOWN]) + rest


def _checkout(source: Source, directory: Path) -> Path:
    """The directory in which the paths of ``source.files`` start."""
    clone = f"git clone https://github.com/{source.repository}, and pass that directory to --from"
    try:
        if not directory.is_dir():
            what = "is no directory" if directory.exists() else "does not exist"
            raise UsageError(f"{directory} {what}.", clone)
        for root in (directory, directory.resolve().parent):
            inside = root == directory or directory.resolve() == root / source.folder
            if inside and (root / source.folder).is_dir() and discovered(source, root):
                return root
    except OSError as error:
        raise UsageError(f"Cannot read {directory}: {error.strerror}.", f"ls -l {directory}") from error
    raise UsageError(
        f"{directory} is no checkout of {source.repository}: it has no task files in {source.folder}/.", clone
    )


def _read_tasks(source: Source, checkout: Path) -> dict[str, bytes]:
    """The task files of another revision, whatever their names, each of them read as a task first."""
    found = discovered(source, checkout)
    for path in found:
        task_id = task_id_of(path)
        if task_id is not None:
            read_task(task_id, checkout / path)
    return _read_files(checkout, found)


def _read_files(directory: Path, paths: Iterable[str]) -> dict[str, bytes]:
    """These files, as far as they are there and no larger than a task can be."""
    found = {}
    for path in paths:
        file = directory / path
        try:
            if file.is_file() and file.stat().st_size <= MAX_TASK_BYTES:
                found[path] = file.read_bytes()
        except OSError as error:
            raise UsageError(f"Cannot read {file}: {error.strerror}.", f"ls -l {file}") from error
    return found


def _install(found: Mapping[str, bytes], target: Path) -> bool:
    """Make ``target`` hold exactly these files: written beside it, then put in place by renaming.

    Returns:
        whether anything was written; False where the directory holds them already.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent):
            if _holds(target, found):
                return False
            for left in target.parent.glob(f".{target.name}.*"):  # by a pull that was killed
                shutil.rmtree(left, ignore_errors=True)
            desk = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                _write(found, desk / "new")
                if target.is_symlink() or target.exists():
                    os.rename(target, desk / "old")
                os.rename(desk / "new", target)
            finally:
                shutil.rmtree(desk, ignore_errors=True)
    except OSError as error:
        raise InfraError(
            f"Cannot write {target}: {error.strerror}.", "export KFORGE_CACHE=/a/writable/dir"
        ) from error
    return True


def _write(found: Mapping[str, bytes], directory: Path) -> None:
    for path, content in found.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)


def _holds(target: Path, found: Mapping[str, bytes]) -> bool:
    there = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    return there == found.keys() and _read_files(target, found) == found


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep a second pull out while this one renames; the lock dies with the process."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _forget_unpinned(source: Source, root: Path) -> None:
    """A pinned pull replaces an earlier unpinned one, which would win otherwise."""
    shutil.rmtree(root / source.unpinned_directory, ignore_errors=True)
