"""What the control pack found on a task: plain records, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Referee = Literal["kforge", "kernelbench", "kernelbench_v0"]
REFEREES: tuple[Referee, ...] = ("kforge", "kernelbench", "kernelbench_v0")
AdmissionStatus = Literal["admitted", "weak", "degenerate", "unchecked"]

WORDS: Mapping[AdmissionStatus, str] = {
    "admitted": "admitted: every control fails",
    "weak": "weak under KernelBench's tolerance",
    "degenerate": "degenerate",
    "unchecked": "could not be checked",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A control that was judged.

    Attributes:
        control: its name in ``kforge.eval.controls``.
        accepted_by: referees that took it in all of their trials.
        error: its worst error in units of kforge's allowance, in the trial that rejected it, or over all
            trials; None where masks or integers differ.
        trial: distribution of the trial that rejected it under kforge's rules, None where none did.
        detail: what exactly it did here, empty where its name says it all.
    """

    control: str
    accepted_by: tuple[Referee, ...]
    error: float | None
    trial: str | None
    detail: str = ""
    kind: Literal["judged"] = "judged"


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """A control that cannot be tried on this task, and why."""

    control: str
    reason: str
    kind: Literal["not_applicable"] = "not_applicable"


Finding = Judged | NotApplicable


@dataclass(frozen=True, slots=True)
class CheckedWorkload:
    """The shapes that a workload was checked at.

    Attributes:
        referee: who judged at these shapes: kforge, KernelBench, or both.
        inputs: name to shape (or the constant), as text.
        outputs: shapes, as text.
        changed: constants of the file that were cut, name to (as written, as checked).
    """

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    referee: Literal["both", "kforge", "KernelBench"] = "both"


@dataclass(frozen=True, slots=True)
class Checked:
    """Every control was tried on the task.

    ``rule`` is the shrink rule in words, empty where nothing could be cut.
    """

    findings: tuple[Finding, ...]
    workloads: tuple[CheckedWorkload, ...]
    rule: str
    seconds: float
    kind: Literal["checked"] = "checked"

    def accepted(self, referee: Referee) -> tuple[str, ...]:
        """Names of the controls that a referee accepts."""
        return tuple(f.control for f in self.findings if isinstance(f, Judged) and referee in f.accepted_by)


@dataclass(frozen=True, slots=True)
class Unchecked:
    """The task could not be checked, and why."""

    reason: str
    seconds: float
    kind: Literal["unchecked"] = "unchecked"


AdmissionVerdict = Checked | Unchecked


def status_of(verdict: AdmissionVerdict) -> AdmissionStatus:
    """Degenerate if kforge's own rules accept a control, weak if only KernelBench's do."""
    if isinstance(verdict, Unchecked):
        return "unchecked"
    if verdict.accepted("kforge"):
        return "degenerate"
    weak = verdict.accepted("kernelbench") or verdict.accepted("kernelbench_v0")
    return "weak" if weak else "admitted"


def describe_verdict(verdict: AdmissionVerdict) -> str:
    """One line: the status, and which controls are accepted by whom."""
    status = status_of(verdict)
    if isinstance(verdict, Unchecked):
        return f"{WORDS[status]}: {verdict.reason}"
    shown = {"kforge": "kforge", "kernelbench": "KernelBench", "kernelbench_v0": "KernelBench at 1e-2"}
    said = [
        f"{shown[referee]} accepts {', '.join(accepted)}"
        for referee in REFEREES
        if (accepted := verdict.accepted(referee))
    ]
    return "; ".join([WORDS[status], *said])


@dataclass(frozen=True, slots=True)
class NewAdmission:
    """A verdict about to be stored.

    Attributes:
        task_hash: sha256 of the task's source.
        size: ``full``, ``small``, ``shrunk`` or another size of the task.
        harness: the evaluator that judged.
    """

    task_id: str
    task_hash: str
    size: str
    harness: str
    verdict: AdmissionVerdict


@dataclass(frozen=True, slots=True)
class StoredAdmission:
    """A stored verdict; of several with the same key the newest counts."""

    id: str
    created_at: datetime
    value: NewAdmission
