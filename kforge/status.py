"""The live status line of a run: best, evaluations, share correct, time left, last improvement."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from kforge.clock import Clock
from kforge.render import console, no_model_label, outcome_line
from kforge.search.events import (
    AnswerAwaited,
    BudgetWarning,
    CandidateEvaluated,
    EliteChanged,
    Event,
    InfraRetried,
    ProposalSent,
    ReplyReceived,
    RunStarted,
    SessionFailing,
    StopRequested,
)
from kforge.types import InfraFailed, Passed

if TYPE_CHECKING:
    from rich.live import Live


class StatusLine:
    """One line that is rewritten on a terminal, one plain line per result elsewhere."""

    def __init__(self, stream: TextIO, clock: Clock, *, run: str, heading: str) -> None:
        self._console = console(stream)
        self._clock = clock
        self._heading = heading
        self._run = run
        self._live: Live | None = None
        self._started = clock.monotonic()
        self._first_done: int | None = None
        self._done = self._budget = self._correct = self._told = self._in_flight = 0
        self._awaited: set[int] = set()
        self._place = ""
        self._best: Passed | None = None
        self._best_at = self._best_done = 0
        self._resumed = False
        self._last: Passed | None = None

    def __enter__(self) -> Self:
        self._say(self._heading)
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(self._line(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case per event
        """Take one event of the loop."""
        match event:
            case RunStarted():
                self._budget = event.evals_budget
                if event.offline:
                    self._say(no_model_label(event.proposer))
                self._resumed = event.told > 0
                if event.told:
                    self._say(f"resumed: {event.told} candidates stored, {event.requeued} evaluated again")
            case ProposalSent():
                self._in_flight += 1
            case AnswerAwaited():
                self._await(event)
            case ReplyReceived():
                self._awaited.discard(event.ordinal)
            case CandidateEvaluated():
                self._evaluated(event)
            case EliteChanged(best=True):
                self._best, self._best_at, self._best_done = self._last, event.ordinal, self._done
            case InfraRetried():
                self._say(
                    f"candidate {event.ordinal}: attempt {event.attempt} failed, trying again: {event.reason}"
                )
            case BudgetWarning():
                self._say(f"budget: {event.reason}")
            case SessionFailing():
                self._say(
                    f"candidate {event.ordinal} failed: {event.reason} Nothing more is asked for; "
                    f"{event.in_flight} under way are finished first"
                )
            case StopRequested(level=1):
                self._say(
                    f"stopping: {event.in_flight} under way are finished first; Ctrl-C again stops at once"
                )
            case StopRequested():
                self._say(f"stopped; go on with: kforge evolve --resume {self._run}")
            case _:
                pass
        if self._live is not None:
            self._live.update(self._line())

    def _await(self, event: AnswerAwaited) -> None:
        self._awaited.add(event.ordinal)
        self._place = event.place
        if event.rejected:
            self._say(f"candidate {event.ordinal}: answer rejected: {event.rejected}")
        elif self._live is None:
            self._say(
                f"candidate {event.ordinal} waits for an answer to {event.prompt};"
                f" waiting for {self._wanted()} in {event.place}"
            )

    def _wanted(self) -> str:
        return "1 answer" if len(self._awaited) == 1 else f"{len(self._awaited)} answers"

    def _evaluated(self, event: CandidateEvaluated) -> None:
        self._told += 1
        self._in_flight = max(0, self._in_flight - 1)
        if self._first_done is None:
            # What earlier sessions evaluated says nothing about this session's pace.
            self._first_done = event.evaluations - 1 if self._resumed else 0
        self._done = event.evaluations
        if isinstance(event.outcome, Passed):
            self._correct += 1
            self._last = event.outcome
        if self._live is None and not isinstance(event.outcome, InfraFailed):
            mark = (
                " (duplicate)" if event.duplicate else " (known from an earlier run)" if event.reused else ""
            )
            line = outcome_line(event.outcome).splitlines()[0][:160]
            self._say(f"[{event.evaluations}/{event.evals_budget}] candidate {event.ordinal}{mark} {line}")

    def _line(self) -> str:
        best = "no improvement yet" if self._resumed else "no correct kernel yet"
        if self._best is not None:
            half = (self._best.speedup_high - self._best.speedup_low) / 2
            since = f"candidate {self._best_at}, {self._done - self._best_done} evaluations ago"
            best = f"best {self._best.speedup:.2f}x ± {half:.2f} ({since})"
        share = f"{self._correct / self._told:.0%} correct" if self._told else "0 told"
        under_way = max(0, self._in_flight - len(self._awaited))
        done = f"{self._done}/{self._budget} evaluations, {under_way} under way"
        line = f"{best} | {done} | {share} | {self._eta()}"
        return f"{line} | waiting for {self._wanted()} in {self._place}" if self._awaited else line

    def _eta(self) -> str:
        done_here = self._done - (self._first_done or 0)
        if done_here <= 0 or self._done >= self._budget:
            return "ETA --"
        per_evaluation_s = (self._clock.monotonic() - self._started) / done_here
        return f"ETA {per_evaluation_s * (self._budget - self._done):.0f} s"

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)
