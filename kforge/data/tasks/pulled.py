"""Which task files a pull left in the cache, by task id. Runs none of them; imports no torch."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from kforge.config import places
from kforge.data.tasks.robust import CONFIG
from kforge.data.tasks.sources import SOURCES, Source, holds, source
from kforge.errors import MissingPrerequisite, TaskError

_KERNELBENCH = re.compile(r"KernelBench/level([1-4])/([0-9]+)_.*\.py")
_ROBUST = re.compile(r"tasks/([A-Za-z0-9_]+)/func_forward\.py")
NEEDS_WEIGHTS = "kb/L4/"


def pulled_root() -> Path | None:
    """Where pulled task sets are kept; None where this process has no cache."""
    try:
        return places().cache / "tasks"
    except MissingPrerequisite:
        return None


def pulled_paths(root: Path | None) -> dict[str, Path]:
    """Task id to file, for every pulled task set; an unpinned one hides the pinned one."""
    found: dict[str, Path] = {}
    if root is None or not root.is_dir():
        return found
    for name in SOURCES:
        pinned = source(name)
        directory = root / pinned.unpinned_directory
        paths = discovered(pinned, directory)
        if not directory.is_dir():
            directory, paths = root / pinned.directory, list(pinned.files)
        for path in paths:
            task_id = task_id_of(path)
            if task_id is not None and (directory / path).is_file():
                found[task_id] = directory / path
    return found


def discovered(task_set: Source, directory: Path) -> list[str]:
    """The task files of any revision, with the settings that belong to them: paths below the directory."""
    found = []
    for file in sorted((directory / task_set.folder).rglob("*.py")):
        path = file.relative_to(directory)
        if task_id_of(path.as_posix()) is not None and file.is_file():
            beside = [path.with_name(CONFIG)] if (directory / path.with_name(CONFIG)).is_file() else []
            found += [each.as_posix() for each in (path, *beside)]
    return found


def require_intact(path: Path, root: Path | None) -> None:
    """A pinned file that has changed since its pull is not the published task, though it has its id.

    Raises:
        TaskError: it, or a settings file beside it, has another content than the pinned one.
    """
    for name in SOURCES if root is not None and path.is_relative_to(root) else ():
        pinned = source(name)
        directory = Path(root or "") / pinned.directory
        if not path.is_relative_to(directory):
            continue
        for file in (path, path.with_name(CONFIG)):
            digest = pinned.files.get(file.relative_to(directory).as_posix())
            if digest is not None and not holds(file, digest):
                raise TaskError(
                    f"{file} is not as it was pulled.",
                    f"Type: kforge tasks pull {name}, or rm -r {directory}",
                )


def task_id_of(path: str) -> str | None:
    """The id of a repository's file: ``kb/L1/19``, ``rkb/layernorm``; None for a file that is no task."""
    if (match := _KERNELBENCH.fullmatch(path)) is not None:
        return f"kb/L{match[1]}/{match[2]}"
    if (match := _ROBUST.fullmatch(path)) is not None:
        return f"rkb/{match[1]}"
    return None


def needs_of(task_id: str, tree: ast.Module) -> tuple[str, ...]:
    """What a level 4 file needs and kforge does not give: its packages, and the model it downloads."""
    if not task_id.startswith(NEEDS_WEIGHTS):
        return ()
    needs = []
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            needs += [alias.name.partition(".")[0] for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            needs.append(statement.module.partition(".")[0])
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if "model_name" in names:
                needs.append(f"the weights of {statement.value.value!s}")
    given = {"torch", *sys.stdlib_module_names}
    return tuple(need for need in dict.fromkeys(needs) if need not in given)
