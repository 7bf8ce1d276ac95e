"""What the process that checks a task is asked. Imports no torch, for the driver makes it."""

from __future__ import annotations

from dataclasses import dataclass

SHRUNK = "shrunk"


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """One task to check.

    Attributes:
        size: a size of the task, or ``shrunk``: full, cut by the shrink rule.
        user_dir: where the user's own tasks are.
        memory_bytes: what the task may allocate.
        threads: of torch.
        seed: of kforge's draws, so that a verdict can be repeated.
    """

    task: str
    size: str
    user_dir: str | None
    memory_bytes: int
    threads: int
    seed: int
