"""What outputs say of a task's admission, from the verdicts that a store holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from kforge.data.verdicts import (
    REFEREES,
    AdmissionStatus,
    Checked,
    Referee,
    StoredAdmission,
    describe_verdict,
    status_of,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A task's admission as reports show it.

    Attributes:
        status: of the verdict, or ``unknown`` without one.
        line: the same in words.
        size: that the control pack ran at.
        current: whether today's evaluator gave the verdict.
        accepted: referee to the controls that it accepts.
        next: the command that checks the task, or checks it again.
    """

    status: AdmissionStatus | Literal["unknown"]
    line: str
    next: str
    size: str | None = None
    current: bool = False
    checked_at: datetime | None = None
    accepted: Mapping[Referee, tuple[str, ...]] = field(default_factory=dict)

    @property
    def warns(self) -> bool:
        """Whether a result on the task must not be believed without this line."""
        return self.status == "degenerate"


def unknown(task_id: str, why: str = "") -> Standing:
    """A task without a verdict."""
    return Standing("unknown", f"not checked{f' ({why})' if why else ''}", _command(task_id))


def standing_of(task_id: str, found: Sequence[StoredAdmission], size: str, harness: str) -> Standing:
    """The verdict that counts: of today's evaluator, of this size, the newest; in this order.

    Args:
        task_id: of the task.
        found: verdicts on its source, newest first.
        size: that is looked at.
        harness: today's evaluator.
    """
    if not found:
        return unknown(task_id)

    def preference(stored: StoredAdmission) -> tuple[bool, bool, bool]:
        value = stored.value
        return (not isinstance(value.verdict, Checked), value.harness != harness, value.size != size)

    best = min(found, key=preference)  # the first of equals: the newest
    value = best.value
    current = value.harness == harness
    verdict = value.verdict
    accepted = {r: verdict.accepted(r) for r in REFEREES} if isinstance(verdict, Checked) else {}
    notes = [f"size {value.size}", *([] if current else ["by another version of the evaluator"])]
    return Standing(
        status=status_of(verdict),
        line=f"{describe_verdict(verdict)} ({', '.join(notes)})",
        next=_command(task_id),
        size=value.size,
        current=current,
        checked_at=best.created_at,
        accepted={r: names for r, names in accepted.items() if names},
    )


def _command(task_id: str) -> str:
    return f"kforge tasks check {shlex.quote(task_id)}"
