"""Running a task file's top level, with constants overridden. Imports no torch."""

from __future__ import annotations
import __future__

import ast
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from kforge.data.tasks.declared import Overrides, assigned_names
from kforge.data.tasks.registry import parse_source
from kforge.errors import KforgeError, TaskError

Namespace = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """A task file, compiled statement by statement.

    Attributes:
        statements: each top-level statement's code, and the variables it assigns.
    """

    path: Path
    statements: tuple[tuple[CodeType, frozenset[str]], ...]

    def run(self, overrides: Overrides) -> Namespace:
        """Execute the file in a fresh namespace.

        An overridden constant gets its new value right after the statement that assigns it, so what
        later statements derive from it follows.

        Raises:
            TaskError: the file's code raised; the message names the line.
        """
        module = ModuleType(f"kforge_task_{self.path.stem}")
        namespace: Namespace = module.__dict__
        namespace["__file__"] = str(self.path)
        sys.modules[module.__name__] = module  # dataclasses looks its own module up while the file runs
        try:
            with user_code(self.path, "running the file"):
                for code, assigned in self.statements:
                    exec(code, namespace)
                    namespace.update({name: overrides[name] for name in assigned & overrides.keys()})
        finally:
            sys.modules.pop(module.__name__, None)
        return namespace


def compile_program(source: str, path: Path) -> Program:
    """Compile task source for ``Program.run`` and make its lines known to tracebacks.

    Raises:
        TaskError: the source is not Python.
    """
    tree = parse_source(source, path)
    linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    flags = 0
    statements = []
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                flags |= getattr(__future__, alias.name).compiler_flag
        module = ast.Module([statement], type_ignores=[])
        code = compile(module, str(path), "exec", flags=flags, dont_inherit=True)
        statements.append((code, assigned_names(statement)))
    return Program(path, tuple(statements))


@contextmanager
def user_code(path: Path, doing: str) -> Iterator[None]:
    """Turn whatever the task file's code raises into a ``TaskError`` that names the line.

    Args:
        path: the task file, as it was compiled.
        doing: what kforge was doing, for the message: "running the file", "calling get_inputs()".
    """
    try:
        yield
    except (KforgeError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # the border to user code: exit() and own exceptions come out of it
        line = _deepest_line(error, path)
        place = f"{path}:{line}" if line is not None else str(path)
        text = traceback.format_exception_only(error)[-1].strip()[:500]
        raise TaskError(f"{place}: {doing} failed: {text}", _what_to_change(error, line, path)) from error


def _deepest_line(error: BaseException, path: Path) -> int | None:
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(path)
    ]
    return lines[-1] if lines else None


def _what_to_change(error: BaseException, line: int | None, path: Path) -> str:
    if isinstance(error, ImportError):
        return _what_to_install(error, path)
    if isinstance(error, SystemExit):
        return f"Remove the call of exit() from {path}."
    if isinstance(error, RecursionError):
        return f"A function of {path} calls itself without end: give it a stop."
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
        return 'Use a smaller size: add SIZES = {"small": {...}} to the file and pass --size small.'
    what = f"line {line} of {path}" if line is not None else str(path)
    return f"Correct {what}; get_inputs() gives forward()'s arguments, get_init_inputs() gives Model()'s."


def _what_to_install(error: ImportError, path: Path) -> str:
    module = (error.name or "").partition(".")[0]
    neighbours = (path.with_name(f"{module}.py"), path.with_name(module or "."))
    if not module or not isinstance(error, ModuleNotFoundError) or any(file.exists() for file in neighbours):
        return "A task is one self-contained file: paste into it what it needs from that module."
    return f"Install the package that brings {module} (pip install {module}?), or paste what you need of it."
