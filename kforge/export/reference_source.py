"""A task's source at one size: an ordinary Python file, with the size's constants written into it."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from kforge.data.tasks.declared import assigned_names
from kforge.errors import UsageError

_DRAWS = ("get_inputs", "get_init_inputs")


def at_size(source: str, overrides: Mapping[str, object], size: str) -> str:
    """The source with constants overridden right after the statements that assign them.

    Args:
        source: of the task; it was parsed before.
        overrides: constant to value.
        size: name of the size, for the comments.

    Raises:
        UsageError: a statement shares its line with an overridden one, so nothing fits between the two.
    """
    lines = source.split("\n")
    body = ast.parse(source).body
    for position in reversed(range(len(body))):
        statement = body[position]
        changed = sorted(assigned_names(statement) & overrides.keys())
        end = statement.end_lineno or statement.lineno
        if not changed:
            continue
        if position + 1 < len(body) and body[position + 1].lineno == end:
            raise UsageError(
                f"Line {end} of the task assigns {changed[0]} and goes on with another statement.",
                "put one statement on each line of the task file",
            )
        lines[end:end] = [f"{name} = {overrides[name]!r}  # size {size!r}" for name in changed]
    return "\n".join(lines)


def changes_model(source: str, overrides: Mapping[str, object]) -> bool:
    """Whether a workload's constants reach the model itself, and not only its arguments.

    One reference file cannot be two models.
    """
    reached = set(overrides)
    for statement in ast.parse(source).body:
        names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        if not names & reached:
            continue
        if isinstance(statement, ast.FunctionDef) and statement.name in _DRAWS:
            continue
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            return True
        reached |= assigned_names(statement)
    return False
