"""From a decision to the messages a proposer is given, within a budget of tokens.

Nothing of this machine goes in: no paths, no run seed, no driver. When the prompt is too long, whole
parts go first, in this order: inspirations, recent failures, then the log is cut to its tail. Task,
workloads, contract and parent always stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, assert_never

from kforge.diagnosis_types import Diagnosis
from kforge.diagnosis_words import diagnosis_lines
from kforge.search.device_words import device_lines
from kforge.search.envelope import UnfinishedThought, answer_in
from kforge.search.proposer import Message
from kforge.search.roofline import position, task_lines
from kforge.search.selection import Decision, DecisionKind
from kforge.search.state import Judged, SearchState
from kforge.types import (
    BuildFailed,
    Ceilings,
    CheckFailed,
    DeviceInfo,
    InfraFailed,
    Measures,
    Outcome,
    ParseFailed,
    Passed,
    Precision,
    ScreenedOut,
    Suspect,
    TaskDescription,
    TensorSpec,
    TimedOut,
    Track,
    Unstable,
    WorkloadResult,
    WorkloadSpec,
)

if TYPE_CHECKING:
    from jinja2 import Environment

CHARS_PER_TOKEN = 4  # rough for code and English alike; the budget is a guard, not an invoice
MAX_PROMPT_TOKENS = 16_000
LOG_TAIL_CHARS = (6_000, 2_000, 600)
MAX_REASON_CHARS = 1_000
MAX_FAILURES = 5
# Of a reply that could not be read: enough for a whole kernel; the middle of a longer one is left out.
UNREAD_HEAD_CHARS = 16_000
UNREAD_TAIL_CHARS = 8_000
# A clock whose own time is a larger share of the candidate's than this is worth a word.
FLOOR_SHARE = 0.05
# A path tells a model nothing that its last part does not, and would show how this machine is laid out.
_DIRECTORIES = re.compile(r"(?:(?<=-[IL])|(?<![\w/.)\]]))/+(?:[\w.+@~-]+/+)+")
# Terminal escapes and other characters that show nothing; tabs and line ends stay.
_UNSEEN = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e]")


@dataclass(frozen=True, slots=True)
class Shown:
    """A candidate as a prompt shows it.

    Attributes:
        text: the whole file.
        report: its outcome in words.
        log: what the compiler said, if it refused the source.
        precision: as declared; the roofline depends on it.
        timed: (workload, microseconds) of a candidate that passed.
        diagnosed: workload to what limits it there; not every device tells.
    """

    text: str
    report: str
    log: str = ""
    precision: Precision = "ieee"
    timed: tuple[tuple[str, float], ...] = ()
    diagnosed: Mapping[str, Diagnosis] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Everything a prompt may hold, before the budget is applied."""

    kind: DecisionKind
    parent: Shown | None
    inspirations: tuple[Shown, ...]
    failures: tuple[str, ...]


def render_prompt(
    task: TaskDescription,
    device: DeviceInfo,
    track: Track,
    parts: PromptParts,
    max_prompt_tokens: int = MAX_PROMPT_TOKENS,
    *,
    ceilings: Ceilings | None = None,
) -> tuple[Message, ...]:
    """System and user message for one proposal.

    Args:
        task: the task; its source is shown whole.
        device: the device that the candidate will run on.
        track: ``pure`` forbids library operators.
        parts: parent, inspirations and failures to show.
        max_prompt_tokens: budget of both messages, at 4 characters a token. A prompt whose mandatory
            parts alone are longer is sent as it is.
        ceilings: what the device was measured to do at best; None where nothing was measured, and then
            the roofline is bytes and operations only.
    """
    template = _environment().get_template(f"system_{device.language}.j2")
    system = template.render(track=track, device=device).strip() + "\n"
    budget_chars = max_prompt_tokens * CHARS_PER_TOKEN - len(system)
    user = ""
    for attempt in _shrinking(parts):
        user = _render_user(task, device, attempt, ceilings)
        if len(user) <= budget_chars:
            break
    return Message("system", system), Message("user", user)


def reformat_messages(asked: Sequence[Message], reply: str, reason: str) -> tuple[Message, ...]:
    """The one cheap turn after a reply that held no readable kernel: the same kernel, readably.

    The conversation goes on, so nothing that the kernel needs is missing (task, parent), and a server may
    have its beginning cached.

    Args:
        asked: the messages that were answered.
        reply: what came back. Thoughts are dropped, the middle of a long one is left out.
        reason: why it could not be read.
    """
    answer = answer_in(reply)
    text = reply if isinstance(answer, UnfinishedThought) or not answer.strip() else answer
    user = _environment().get_template("reformat.j2").render(reason=_short(reason))
    said = Message("assistant", _without_middle(_UNSEEN.sub("", text)))
    return (*asked, said, Message("user", user.strip() + "\n"))


def parts_of(decision: Decision, state: SearchState) -> PromptParts:
    """What the prompt of a decision shows, from the search as it stands."""
    parent = None if decision.parent is None else state.judged[decision.parent]
    others = [state.judged[name] for name in decision.inspirations]
    failures = [judged for judged in state.recent_failures(MAX_FAILURES + 1) if judged is not parent]
    return PromptParts(
        kind=decision.kind,
        parent=None if parent is None else _shown(parent),
        inspirations=tuple(_shown(judged) for judged in others),
        failures=tuple(" ".join(report(judged.outcome).split()) for judged in failures[:MAX_FAILURES]),
    )


def _shown(judged: Judged) -> Shown:
    source = judged.candidate.source
    if source is None:
        return shown("", judged.outcome, judged.measures)
    return shown(source.text, judged.outcome, judged.measures, source.precision)


def shown(text: str, outcome: Outcome, measures: Measures | None, precision: Precision = "ieee") -> Shown:
    """A candidate with its outcome in words."""
    cell = "" if measures is None else (
        f"\nArchive cell: memory {measures.memory}, compute {measures.compute}, "
        f"parallelism {measures.parallelism} (levels 0 to 3)."
    )  # fmt: skip
    log = _UNSEEN.sub("", without_paths(outcome.log)) if isinstance(outcome, BuildFailed) else ""
    timed = (
        tuple((result.workload, result.candidate.median_us) for result in outcome.workloads)
        if isinstance(outcome, Passed)
        else ()
    )
    results = outcome.workloads if isinstance(outcome, Passed) else ()
    diagnosed = {r.workload: r.diagnosis for r in results if r.diagnosis is not None}
    return Shown(text, report(outcome) + cell, log, precision, timed, diagnosed)


def report(outcome: Outcome) -> str:
    """One outcome in words that a proposer can act on."""
    match outcome:
        case Passed():
            return _passed(outcome)
        case CheckFailed():
            worst = (
                "" if outcome.max_error is None else f" Largest error: {outcome.max_error:.3g} x the limit."
            )
            where = f"workload {outcome.workload}, trial {outcome.trial}"
            return f"check_failed ({outcome.kind}) in {where}: {_short(outcome.reason)}{worst}"
        case TimedOut():
            limit = f"{outcome.stage}, limit {outcome.limit_s:g} s"
            return f"timed_out ({limit}): {_short(outcome.reason)}"
        case ScreenedOut():
            return f"screened_out ({outcome.rule}): {_short(outcome.reason)}"
        case Unstable():
            return f"unstable (noise {outcome.noise:.1%}): {_short(outcome.reason)}"
        case ParseFailed() | BuildFailed() | Suspect() | InfraFailed():
            return f"{outcome.status}: {_short(outcome.reason)}"
        case _:
            assert_never(outcome)


def without_paths(text: str) -> str:
    """``text`` with absolute paths cut to their last part."""
    return _DIRECTORIES.sub("", text)


def fenced(text: str, tag: str) -> str:
    """``text`` as a fenced block whose fence the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{tag}\n{text.rstrip()}\n{fence}"


def _passed(outcome: Passed) -> str:
    lines = [
        f"passed: speedup {outcome.speedup:.3f} (at least {outcome.speedup_low:.3f}, {outcome.verdict}), "
        f"latency {outcome.latency_us:.1f} us ± {outcome.noise:.1%}, baseline {outcome.baseline_us:.1f} us."
    ]
    return "\n".join([*lines, *(_workload_result(result) for result in outcome.workloads)])


def _workload_result(result: WorkloadResult) -> str:
    text = (
        f"Workload {result.workload}: candidate {result.candidate.median_us:.1f} us, eager PyTorch "
        f"{result.baseline.median_us:.1f} us: {result.speedup:.2f}x ({result.speedup_low:.2f}.."
        f"{result.speedup_high:.2f}, {result.verdict})"
    )
    if result.compiled is not None and result.compiled_speedup is not None:
        ratio, low, high = result.compiled_speedup
        text += f"; torch.compile {result.compiled.median_us:.1f} us: {ratio:.2f}x ({low:.2f}..{high:.2f})"
    text += f". Largest error {result.max_error:.2g} x the limit."
    if result.floor_us >= FLOOR_SHARE * result.candidate.median_us:
        text += f" An empty run takes {result.floor_us:.1f} us on this clock."
    return text


def _short(reason: str) -> str:
    """One line that opens no heading, no list and no fence, whoever wrote it."""
    line = " ".join(_UNSEEN.sub(" ", without_paths(reason)).split())
    return re.sub(r"`{3,}", "'''", line)[:MAX_REASON_CHARS]


def _without_middle(text: str) -> str:
    left_out = len(text) - UNREAD_HEAD_CHARS - UNREAD_TAIL_CHARS
    if left_out <= 0:
        return text
    return (
        f"{text[:UNREAD_HEAD_CHARS]}\n[... {left_out} characters left out ...]\n{text[-UNREAD_TAIL_CHARS:]}"
    )


def _shrinking(parts: PromptParts) -> Iterator[PromptParts]:
    """The parts in ever smaller versions, in the stated order."""
    current = _with_log_tail(parts, LOG_TAIL_CHARS[0])
    yield current
    while current.inspirations:
        current = replace(current, inspirations=current.inspirations[:-1])
        yield current
    while current.failures:
        current = replace(current, failures=current.failures[:-1])
        yield current
    for chars in LOG_TAIL_CHARS[1:]:
        current = _with_log_tail(current, chars)
        yield current


def _with_log_tail(parts: PromptParts, chars: int) -> PromptParts:
    parent = parts.parent
    if parent is None or len(parent.log) <= chars:
        return parts
    return replace(parts, parent=replace(parent, log="[...]\n" + parent.log[-chars:]))


def _render_user(
    task: TaskDescription, device: DeviceInfo, parts: PromptParts, ceilings: Ceilings | None
) -> str:
    return (
        _environment()
        .get_template("user.j2")
        .render(
            task=task,
            device_lines=device_lines(device, ceilings),
            roofline_lines=[
                f"{workload.name}: {line}"
                for workload in task.workloads
                for line in task_lines(workload, ceilings)
            ],
            position_lines=_position_lines(task, parts.parent, ceilings),
            kind=parts.kind,
            parent=parts.parent,
            inspirations=parts.inspirations,
            failures=parts.failures,
        )
        .strip()
        + "\n"
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kforge", "prompts"),
        undefined=StrictUndefined,
        autoescape=False,  # plain text for a model, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(fenced=fenced, workload_lines=_workload_lines)
    return environment


def _workload_lines(workload: WorkloadSpec) -> list[str]:
    lines = []
    for spec in workload.inputs:
        what = f"constant {spec.constant!r}" if spec.tensor is None else _tensor(spec.tensor)
        lines.append(f"input {spec.name}: {what} ({spec.kind})")
    lines += [f"param {tensor.name}: {_tensor(tensor)}" for tensor in workload.parameters]
    lines += [f"buffer {tensor.name}: {_tensor(tensor)}" for tensor in workload.buffers]
    lines += [f"init {name} = {value!r}" for name, value in workload.init.items()]
    lines += [f"output {index}: {_tensor(tensor)}" for index, tensor in enumerate(workload.outputs)]
    if workload.returns_tuple:
        lines.append("the reference returns a tuple")
    return lines


def _tensor(tensor: TensorSpec) -> str:
    return f"{tensor.dtype} shape {list(tensor.shape)} strides {list(tensor.strides)}"


def _position_lines(task: TaskDescription, parent: Shown | None, ceilings: Ceilings | None) -> list[str]:
    if parent is None:
        return []
    specs = {workload.name: workload for workload in task.workloads}
    lines: list[str] = []
    for name, latency_us in parent.timed:
        if name in specs:
            diagnosis = parent.diagnosed.get(name)
            limits = diagnosis_lines(diagnosis) if diagnosis is not None else []
            stands = position(specs[name], latency_us, ceilings, parent.precision, advise=not limits)
            lines.append(f"Roofline, workload {name}: {stands}")
            if limits:
                lines += [
                    f"What limits it, workload {name}, the largest first (shares are estimates):",
                    *limits,
                ]
    return lines
