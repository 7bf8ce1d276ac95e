"""Which tasks exist and where: embedded ones, the user's own directory, any file. Imports no torch."""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from kforge.data.tasks.declared import Family, declared
from kforge.data.tasks.pulled import needs_of, pulled_paths, pulled_root, require_intact
from kforge.data.tasks.robust import compose, is_robust
from kforge.errors import TaskError

MAX_TASK_BYTES = 1_000_000
_USER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class TaskFile:
    """One readable task file; nothing of it has run.

    Attributes:
        id: ``kb/L2/17``, ``user/NAME``, or the absolute path of a file given by path. ``resolve(id)``
            finds the same file again.
        sizes: names of the sizes, ``full`` first.
        hash: sha256 of ``source``, hexadecimal.
        needs: what it needs that kforge does not give; a task with needs is listed, and not resolved.
    """

    id: str
    path: Path
    title: str
    family: Family | None
    sizes: tuple[str, ...]
    source: str
    hash: str
    needs: tuple[str, ...] = ()


def list_tasks(user_dir: Path | None = None, pulled: Path | None = None) -> list[TaskFile]:
    """Every embedded task, then those of ``user_dir`` and the pulled ones, in natural order of their ids.

    Args:
        user_dir: where ``add_task`` put the user's own tasks; None means there are none.
        pulled: the cache's directory of task sets; None lists none of them.

    Raises:
        TaskError: a file of the user's directory is no task any more, or a pulled one was changed.
    """
    found = _paths_by_id(user_dir, pulled)
    for path in found.values():
        require_intact(path, pulled)
    return [read_task(task_id, path) for task_id, path in found.items()]


def resolve(task: str, user_dir: Path | None = None) -> TaskFile:
    """Find a task by id or by file path.

    Args:
        task: an id such as ``kb/L2/17``, or a path (``./mine.py``).
        user_dir: where ``add_task`` put the user's own tasks; None means there are none.

    Raises:
        TaskError: no such id or file, the file is no task, or it needs what kforge does not give.
    """
    known = _paths_by_id(user_dir)
    if task not in known:
        root = pulled_root()
        known = _paths_by_id(user_dir, root)
        if task in known:
            require_intact(known[task], root)
    if task in known:
        return _runnable(read_task(task, known[task]))
    if task.endswith(".py") or task.startswith((".", "/", "~")) or _exists(task):
        path = _absolute(task)
        return read_task(path.as_posix(), path)
    near = difflib.get_close_matches(task, known, n=3, cutoff=0.0)
    raise TaskError(
        f"No task has the id {task!r}, and no file has that name.",
        f"Did you mean {', '.join(near)}? List all with: kforge tasks list{_pull_hint(task)}",
    )


def _pull_hint(task: str) -> str:
    """The command that brings a published task that is not here."""
    if re.fullmatch(r"kb/L[1-4]/[0-9]+", task):
        return "; get all of KernelBench with: kforge tasks pull kernelbench"
    return "; get these with: kforge tasks pull robust-kbench" if task.startswith("rkb/") else ""


def _runnable(task: TaskFile) -> TaskFile:
    if task.needs:
        raise TaskError(
            f"{task.id} needs {' and '.join(task.needs)}; kforge lists such tasks and does not run them.",
            "Copy what it computes into a file of its own, with random weights: see docs/tasks.md",
        )
    return task


def add_task(path: Path, name: str, directory: Path) -> TaskFile:
    """Copy a checked task file into the user's directory, as task ``user/NAME``.

    Raises:
        TaskError: the file is no task, the name is malformed or taken, or the directory is not writable.
    """
    if not _USER_NAME.fullmatch(name):
        raise TaskError(
            f"{name!r} is no task name: it must match {_USER_NAME.pattern}.",
            "Choose lower-case letters, digits, '-' and '_', for example: my-softmax",
        )
    source = read_task(path.as_posix(), path).source
    target = directory / f"{name}.py"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(source)
    except FileExistsError as error:
        raise TaskError(
            f"The task user/{name} exists already ({target}).",
            f"Choose another name, or remove that file first: rm {target}",
        ) from error
    except OSError as error:
        raise TaskError(f"Cannot write {target}: {error.strerror}.", f"Make {directory} writable.") from error
    return read_task(f"user/{name}", target)


def read_task(task_id: str, path: Path) -> TaskFile:
    """Read and check one task file without running it.

    Raises:
        TaskError: unreadable, larger than 1 MB, not UTF-8, not Python, or not a task.
    """
    source = _read_source(path)
    if is_robust(path):
        source = compose(source, path)
    tree = parse_source(source, path)
    facts = declared(tree, path)
    return TaskFile(
        id=task_id,
        path=path,
        title=facts.title,
        family=facts.family,
        sizes=tuple(facts.sizes),
        source=source,
        hash=hashlib.sha256(source.encode()).hexdigest(),
        needs=needs_of(task_id, tree),
    )


def parse_source(source: str, path: Path) -> ast.Module:
    """Parse task source.

    Raises:
        TaskError: the text is not Python; the message says where.
    """
    try:
        tree = ast.parse(source, str(path))
        compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise TaskError(
            f"{path}:{error.lineno}: syntax error: {error.msg}.", f"Correct line {error.lineno} of {path}."
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise TaskError(
            f"{path} is not Python source that can be compiled: {error or type(error).__name__}.",
            "Give a plain Python file without NUL bytes or thousands of nested brackets.",
        ) from error
    return tree


def _read_source(path: Path) -> str:
    try:
        if path.is_dir():
            raise TaskError(f"{path} is a directory, not a task file.", f"Name a file: {path}/NAME.py")
        if not path.exists():
            raise TaskError(
                f"There is no file {path}.", "Check the path, or list tasks with: kforge tasks list"
            )
        if not path.is_file():
            raise TaskError(f"{path} is not a regular file.", "Give a Python file on disk.")
        with path.open("rb") as stream:
            raw = stream.read(MAX_TASK_BYTES + 1)
    except OSError as error:
        raise TaskError(
            f"Cannot read {path}: {error.strerror}.", f"Check its permissions: ls -l {path}"
        ) from error
    if len(raw) > MAX_TASK_BYTES:
        raise TaskError(
            f"{path} is larger than {MAX_TASK_BYTES:,} bytes, too large for a task.",
            "Keep data out of the file: make it in get_inputs() with torch.rand and the like.",
        )
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path} is not UTF-8 text (byte {error.start}).", "Save the file as UTF-8 Python source."
        ) from error


def _paths_by_id(user_dir: Path | None, pulled: Path | None = None) -> dict[str, Path]:
    embedded = Path(str(files("kforge") / "tasks"))
    found = {path.stem.replace("_", "/"): path for path in embedded.glob("kb_*.py")}
    if user_dir is not None and user_dir.is_dir():
        own = (path for path in user_dir.glob("*.py") if _USER_NAME.fullmatch(path.stem))
        found |= {f"user/{path.stem}": path for path in own}
    found = pulled_paths(pulled) | found  # an embedded id stays embedded
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def _natural(task_id: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", task_id)]


def _exists(task: str) -> bool:
    try:
        return Path(task).exists()
    except (OSError, ValueError):  # too long, or a NUL byte: no path at all
        return False


def _absolute(task: str) -> Path:
    try:
        return Path(task).expanduser().resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise TaskError(f"{task!r} is no usable path: {error}.", "Give the path of a Python file.") from error
