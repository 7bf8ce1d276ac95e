"""Which task files a pull left in the cache, by task id. Runs none of them; imports no torch."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from kforge.config import places
from kforge.data.tasks.sources import SOURCES, source
from kforge.errors import MissingPrerequisite

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
        if not directory.is_dir():
            directory = root / pinned.directory
        if not directory.is_dir():
            continue
        for path in pinned.files:
            task_id = task_id_of(path)
            if task_id is not None and (directory / path).is_file():
                found[task_id] = directory / path
    return found


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
        if isinstance(statement, ast.ImportFrom) and statement.module == "transformers":
            needs.append("transformers")
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if "model_name" in names:
                needs.append(f"the weights of {statement.value.value!s}")
    return tuple(needs)
