"""What a person sees: the status line of a run, tables, the end of a run. Rich is imported when it draws."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO, assert_never

from kforge.data.standing import Standing
from kforge.data.verdicts import (
    REFEREES,
    AdmissionVerdict,
    Checked,
    Finding,
    Judged,
    NotApplicable,
    Referee,
    describe_verdict,
    status_of,
)
from kforge.diagnosis_words import diagnosis_lines, launch_lines
from kforge.search.cells import COMPUTE_LEVELS, MEMORY_LEVELS, PARALLELISM_LEVELS, cell_name
from kforge.types import (
    BuildFailed,
    Built,
    CheckFailed,
    DeviceInfo,
    InfraFailed,
    Outcome,
    ParseFailed,
    Passed,
    ScreenedOut,
    Suspect,
    TaskDescription,
    TimedOut,
    Unstable,
    WorkloadResult,
)

if TYPE_CHECKING:
    from rich.console import Console

    from kforge.open_types import OpenDevice
    from kforge.search.accounts import Account
    from kforge.search.summary import BestCandidate, Elite, RunSummary

# What is said, loudly, of a proposer that asks no model.
NO_MODEL = {
    "offline": "offline proposer: rule-based, no model was asked",
    "replay": "replay: recorded replies, no model was asked",
}


def no_model_label(proposer: str) -> str:
    """What every output says where no model was asked."""
    return NO_MODEL.get(proposer, f"{proposer}: no model was asked")


def console(stream: TextIO | None = None) -> Console:
    """A Rich console on stdout (or ``stream``), plain when it is no terminal."""
    from rich.console import Console

    return Console(file=stream or sys.stdout, highlight=False, soft_wrap=stream is not None)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A plain table on stdout; columns are as wide as their contents, so that it greps well."""
    if title:
        print(title)
    widths = [max(len(str(row[i])) for row in (headings, *rows)) for i in range(len(headings))]
    for row in (headings, *rows):
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_task(task: TaskDescription, admission: str) -> None:
    """A task's shapes and source, and whether it deserves to be one."""
    print(f"{task.id}: {task.title} ({task.size})\nadmission: {admission}\n")
    for workload in task.workloads:
        rows: list[tuple[str, str, str, str]] = [
            (
                i.name,
                i.kind,
                i.tensor.dtype if i.tensor else "",
                str(i.tensor.shape if i.tensor else i.constant),
            )
            for i in workload.inputs
        ]
        rows += [(t.name, "parameter", t.dtype, str(t.shape)) for t in workload.parameters]
        rows += [(t.name, "buffer", t.dtype, str(t.shape)) for t in workload.buffers]
        rows += [(t.name, "output", t.dtype, str(t.shape)) for t in workload.outputs]
        print_table(("name", "kind", "dtype", "shape"), rows, f"workload {workload.name}")
        print()
    print(task.source)


def outcome_line(outcome: Outcome) -> str:
    """One line on how a candidate ended."""
    match outcome:
        case Passed():
            spread = f"{outcome.speedup_low:.2f}..{outcome.speedup_high:.2f}"
            return (
                f"passed: {outcome.speedup:.2f}x ({spread}) {outcome.verdict}, "
                f"{outcome.latency_us:.0f} us against {outcome.baseline_us:.0f} us eager"
            )
        case CheckFailed():
            return f"check failed ({outcome.kind}): {outcome.reason}"
        case TimedOut():
            return f"timed out in {outcome.stage}: {outcome.reason}"
        case ParseFailed() | ScreenedOut() | BuildFailed() | Unstable() | Suspect() | InfraFailed():
            return f"{outcome.status.replace('_', ' ')}: {outcome.reason}"
        case _:
            assert_never(outcome)


def print_evaluation(outcome: Outcome, built: Built | None, device: OpenDevice | None) -> None:
    """The end of ``kforge eval`` for a person."""
    print(outcome_line(outcome))
    if device is not None:
        print(f"device: {device.name} ({device.selector})")
    if built is not None:
        print_facts(built)
    if isinstance(outcome, Passed):
        for w in outcome.workloads:
            print_workload(w)
            if w.busy_others is not None and w.busy_others > 0.1:
                print(f"  other processes used {w.busy_others:.0%} of the processors meanwhile")
        print(f"KernelBench's own verdict: {'correct' if outcome.kb_correct else 'not correct'}")
    if isinstance(outcome, BuildFailed):
        print(outcome.log)


def print_workload(result: WorkloadResult) -> None:
    """One workload's times, and what they are worth."""
    print(
        f"workload {result.workload}: {result.speedup:.2f}x, {result.candidate.n} interleaved samples, "
        f"noise {result.candidate.noise:.1%}, request floor {result.floor_us:.0f} us, "
        f"worst error {result.max_error:.2g} of the allowance, "
        f"{result.timed_outputs_checked} timed outputs verified"
    )
    if result.wall_us is not None:
        print(
            f"  device clock {result.candidate.median_us:.1f} us, the verifier's own {result.wall_us:.1f} us "
            "a run"
        )
    if result.compiled is not None and result.compiled_speedup is not None:
        speedup, low, high = result.compiled_speedup
        print(
            f"  against torch.compile: {speedup:.2f}x ({low:.2f}..{high:.2f}), "
            f"{result.compiled.median_us:.0f} us"
        )
    if result.diagnosis is not None:
        print("  what limits it, the largest first (shares of the time are estimates):")
        for line in diagnosis_lines(result.diagnosis):
            print(f"    {line}")


def print_built(built: Built, device: DeviceInfo) -> None:
    """A build that was not run."""
    print(f"built for {device.arch} ({device.name}) in {built.build_s:.1f} s")
    print_facts(built)


def print_facts(built: Built) -> None:
    """What the compiled code says of itself."""
    print(f"cell: {cell_name(built.measures.cell)}")
    if built.library_ops:
        print(f"library operators: {', '.join(built.library_ops)}")
    for kernel in built.facts.kernels:
        wide = kernel.wide_load_bytes / kernel.global_load_bytes if kernel.global_load_bytes else 0.0
        words = [f"{wide:.0%} of loaded bytes by wide loads"]
        if kernel.resources is not None:
            words = [
                f"{kernel.resources.registers} registers",
                f"{kernel.resources.static_shared_bytes} B static shared memory",
                f"{kernel.resources.frame_bytes} B stack",
                *words,
            ]
        for count, name in ((kernel.matrix_ops, "matrix"), (kernel.async_copies, "asynchronous copy")):
            if count:
                words.append(f"{name} instructions")
        print(f"kernel {kernel.name}: {', '.join(words)}")
    for workload, plan in built.plan_facts.items():
        for line in launch_lines(plan):
            print(f"launch ({workload}) {line}")


# ------------------------------------------------------------------------------------- the end of a run


def print_summary(run: str, task: str, size: str, summary: RunSummary) -> None:
    """The end of a run: the best kernel, the grid, failures by class, what it took."""
    print(f"run {run}: {task} ({size}), {summary.state}")
    if summary.offline:
        own = _asked(summary) == "you"
        print("your own kernels: no model was asked" if own else no_model_label(summary.proposer))
    print_best(run, summary.best)
    print_grid(summary.elites)
    print_failures(summary.statuses)
    print_accounts(summary.accounts)
    print(
        f"{summary.evaluations}/{summary.evals_budget} evaluations, {summary.duplicates} duplicates, "
        f"{summary.proposals} proposals by {_asked(summary)}, strategy {summary.strategy}, "
        f"{summary.prompt_tokens + summary.completion_tokens:,} tokens, ${summary.usd:.2f}, "
        f"{summary.seconds:.0f} s, {summary.device_seconds:.0f} s on the device, "
        f"idle while work was queued {summary.device_idle_s:.1f} s"
    )
    if summary.state != "finished" and not summary.unanswered:
        raised = " and a higher limit (--evals, --minutes, --usd, --tokens, --device-seconds)"
        print(f"go on: kforge evolve --resume {run}{raised if summary.state == 'budget' else ''}")


def _asked(summary: RunSummary) -> str:
    own = all(account.by == "kind" or account.name.startswith("file: ") for account in summary.accounts)
    return "you" if own and summary.accounts else summary.proposer


def print_best(run: str, best: BestCandidate | None) -> None:
    """The winner, its figures and its whole source."""
    if best is None:
        print("\nno correct kernel yet\n")
        return
    print(f"\nbest: candidate {best.ordinal} in cell {cell_name(best.measures.cell)}")
    print(outcome_line(best.outcome))
    print(f"\n{best.source.strip()}\n")


def print_grid(elites: Sequence[Elite]) -> None:
    """The archive as four slices, one per parallelism level; a cell shows its elite's speedup."""
    found = {e.measures.cell: e.speedup for e in elites}
    print(f"archive: {len(found)} of 64 cells (speedup of each elite; rows memory, columns compute)")
    for parallelism, name in enumerate(PARALLELISM_LEVELS):
        if not any(cell[2] == parallelism for cell in found):
            print(f"  parallelism {name}: empty")
            continue
        print(f"  parallelism {name}")
        print("    " + " " * 16 + "".join(label.rjust(13) for label in COMPUTE_LEVELS))
        for memory, label in enumerate(MEMORY_LEVELS):
            cells = (found.get((memory, compute, parallelism)) for compute in range(4))
            print(
                "    "
                + label.ljust(16)
                + "".join(("-" if s is None else f"{s:.2f}x").rjust(13) for s in cells)
            )
    print()


def print_failures(statuses: Mapping[str, int]) -> None:
    """How candidates ended, by class."""
    total = sum(statuses.values()) or 1
    rows = sorted(statuses.items(), key=lambda item: -item[1])
    print_table(("outcome", "candidates", "share"), [(n, str(c), f"{c / total:.0%}") for n, c in rows])
    print()


def print_accounts(accounts: Sequence[Account]) -> None:
    """What each model and each kind of proposal cost, and what it bought."""
    if not accounts:
        return
    headings = ("", "proposals", "read", "passed", "new elites", "best", "tokens", "cost", "per kernel")
    rows = [
        (
            f"{account.by} {account.name}", str(account.proposals), str(account.parsed), str(account.passed),
            str(account.elites), "-" if account.best_speedup is None else f"{account.best_speedup:.2f}x",
            f"{account.tokens:,}", f"${account.usd:.2f}",
            "-" if account.usd_per_passed is None else f"${account.usd_per_passed:.3f}",
        )
        for account in accounts
    ]  # fmt: skip
    print_table(headings, rows)
    print()


def speedup_of_objective(objective: float | None) -> str:
    """An archive objective (log2 of the speedup's lower bound) as a speedup."""
    return "" if objective is None else f"{math.exp2(objective):.2f}x"


# ----------------------------------------------------------------------------------------- admission


def print_standing(standing: Standing) -> None:
    """Whether the task behind a result deserves to be one."""
    print(f"task admission: {standing.line}")
    if standing.status == "degenerate":
        print("  a kernel that does not do the work passes on this task: its speedups mean nothing")
    if standing.status in {"unknown", "unchecked"} or not standing.current:
        print(f"  next: {standing.next}")


REFEREE_WORDS = ("kforge", "KernelBench", "KernelBench at 1e-2")


def print_admissions(found: Sequence[tuple[str, AdmissionVerdict]]) -> None:
    """One task in full; many as a table, the rule, and what each control got through."""
    if len(found) == 1:
        _print_admission(*found[0])
        return
    rows = []
    for task, verdict in found:
        cells = (
            [_accepted_names(verdict, referee) for referee in REFEREES]
            if isinstance(verdict, Checked)
            else [verdict.reason.splitlines()[0][:160], "", ""]
        )
        rows.append((task, status_of(verdict), _cut_shapes(verdict), *cells))
    print_table(("task", "status", "checked at", *(f"accepted by {h}" for h in REFEREE_WORDS)), rows)
    checked = [verdict for _, verdict in found if isinstance(verdict, Checked)]
    for rule in dict.fromkeys(verdict.rule for verdict in checked if verdict.rule):
        print(f"\nshrunk: {rule}")
    print()
    _print_controls(checked)
    statuses = [status_of(verdict) for _, verdict in found]
    print("\n" + ", ".join(f"{statuses.count(s)} {s}" for s in dict.fromkeys(statuses)))


def _print_admission(task: str, verdict: AdmissionVerdict) -> None:
    print(f"{task}: {describe_verdict(verdict)}")
    if not isinstance(verdict, Checked):
        return
    print_table(("control", *REFEREE_WORDS, ""), [_finding_row(finding) for finding in verdict.findings])
    for workload in verdict.workloads:
        inputs = ", ".join(f"{name} {shape}" for name, shape in workload.inputs.items())
        by = "" if workload.referee == "both" else f" (judged by {workload.referee})"
        print(f"workload {workload.name}{by}: {inputs} -> {', '.join(workload.outputs)}")
        for name, (written, cut) in workload.changed.items():
            print(f"  {name}: {written} as written, {cut} here")
    if verdict.rule:
        print(f"shrunk: {verdict.rule}")


def _finding_row(finding: Finding) -> tuple[str, ...]:
    match finding:
        case NotApplicable(control=control, reason=reason):
            return (control, "-", "-", "-", reason)
        case Judged():
            words = ["accepted" if r in finding.accepted_by else "rejected" for r in REFEREES]
            error = "" if finding.error is None else f"{finding.error:.3g} of the allowance"
            where = f" on {finding.trial} inputs" if finding.trial is not None else ""
            return (finding.control, *words, "; ".join(filter(None, (finding.detail, error + where))))


def _print_controls(checked: Sequence[Checked]) -> None:
    """How many tasks accept each control."""
    names = [finding.control for finding in checked[0].findings] if checked else []
    rows = []
    for name in names:
        judged = sum(any(isinstance(f, Judged) and f.control == name for f in v.findings) for v in checked)
        counts = [sum(name in v.accepted(referee) for v in checked) for referee in REFEREES]
        rows.append((name, str(judged), *map(str, counts)))
    print_table(("control", "tasks it applies to", *(f"accepted by {h}" for h in REFEREE_WORDS)), rows)


def _accepted_names(verdict: Checked, referee: Referee) -> str:
    applicable = sum(isinstance(finding, Judged) for finding in verdict.findings)
    accepted = verdict.accepted(referee)
    return f"all {applicable}" if len(accepted) == applicable else ", ".join(accepted)


def _cut_shapes(verdict: AdmissionVerdict) -> str:
    if not isinstance(verdict, Checked):
        return ""
    own = [w for w in verdict.workloads if w.referee != "KernelBench"]
    cut = [f"{n} {c}" for w in own for n, (_, c) in w.changed.items()]
    return ", ".join(cut) or "as written"
