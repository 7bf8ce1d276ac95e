"""The status line: one line on a terminal, plain lines elsewhere, never a figure that is not so."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from kforge.search.events import (
    AnswerAwaited,
    CandidateEvaluated,
    EliteChanged,
    Event,
    ProposalSent,
    ReplyReceived,
    RunStarted,
    StopRequested,
)
from kforge.status import StatusLine
from kforge.types import BuildFailed, Measures, Outcome, Passed

PASSED = Passed(
    speedup=2.0, speedup_low=1.8, speedup_high=2.2, latency_us=50.0, baseline_us=100.0, noise=0.1,
    verdict="FAST", max_error=0.2, kb_correct=True, workloads=(),
)  # fmt: skip


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Ten seconds pass before the events."""

    def __init__(self) -> None:
        self.times = iter([0.0])

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return next(self.times, 10.0)


def evaluated(ordinal: int, outcome: Outcome, evaluations: int) -> Event:
    return CandidateEvaluated(
        ordinal,
        f"id{ordinal}",
        outcome,
        duplicate=False,
        reused=False,
        evaluations=evaluations,
        evals_budget=8,
    )


def started(told: int) -> Event:
    return RunStarted(proposer="offline", offline=True, evals_budget=8, told=told, requeued=0)


BEST = EliteChanged(1, "id1", "new", Measures(0, 1, 0), 0.8, 0.8, True)
SEARCH = [started(0), evaluated(0, BuildFailed("no ';'", "log"), 1), evaluated(1, PASSED, 2), BEST]


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with StatusLine(stream, Clock(), run="r", heading="run r") as status:
        for event in [*SEARCH, StopRequested(1, 2), StopRequested(2, 2)]:
            status.note(event)
    assert stream.getvalue().splitlines() == [
        "run r",
        "offline proposer: rule-based, no model was asked",
        "[1/8] candidate 0 build failed: no ';'",
        "[2/8] candidate 1 passed: 2.00x (1.80..2.20) FAST, 50 us against 100 us eager",
        "stopping: 2 under way are finished first; Ctrl-C again stops at once",
        "stopped; go on with: kforge evolve --resume r",
    ]


def test_one_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Screen()
    with StatusLine(stream, Clock(), run="r", heading="run r") as status:
        for event in [*SEARCH, evaluated(2, PASSED, 3)]:
            status.note(event)
    best = "best 2.00x ± 0.20 (candidate 1, 1 evaluations ago)"
    assert f"{best} | 3/8 evaluations, 0 under way | 67% correct | ETA 17 s" in stream.getvalue()
    assert "[1/8]" not in stream.getvalue()


def test_a_resumed_run_does_not_count_old_evaluations_as_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Screen()
    with StatusLine(stream, Clock(), run="r", heading="run r") as status:
        for event in [started(5), ProposalSent(5, "first", 0), evaluated(5, BuildFailed("no ';'", "log"), 6)]:
            status.note(event)
    assert "resumed: 5 candidates stored" in stream.getvalue()
    assert "no improvement yet | 6/8 evaluations" in stream.getvalue()
    assert "ETA 20 s" in stream.getvalue()


AWAITED: list[Event] = [
    RunStarted(proposer="exchange", offline=False, evals_budget=8, told=0, requeued=0),
    ProposalSent(0, "first", 0),
    AnswerAwaited(0, "/mail", "r-0000-ab.prompt.json", ""),
    ProposalSent(1, "first", 0),
    AnswerAwaited(1, "/mail", "r-0001-cd.prompt.json", ""),
    AnswerAwaited(1, "/mail", "r-0001-cd.prompt.json", "r-0001-cd.answer.json: its content is empty"),
]


def test_awaited_answers_are_named_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with StatusLine(stream, Clock(), run="r", heading="run r") as status:
        for event in AWAITED:
            status.note(event)
    assert stream.getvalue().splitlines() == [
        "run r",
        "candidate 0 waits for an answer to r-0000-ab.prompt.json; waiting for 1 answer in /mail",
        "candidate 1 waits for an answer to r-0001-cd.prompt.json; waiting for 2 answers in /mail",
        "candidate 1: answer rejected: r-0001-cd.answer.json: its content is empty",
    ]


def test_awaited_answers_are_counted_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Screen()
    with StatusLine(stream, Clock(), run="r", heading="run r") as status:
        for event in AWAITED:
            status.note(event)
        assert "0/8 evaluations, 0 under way" in status._line()
        assert status._line().endswith("| waiting for 2 answers in /mail")
        status.note(ReplyReceived(0, "id0", 0, 0, 0.0, 1.0, "agent"))
        assert "1 under way" in status._line()
        status.note(ReplyReceived(1, "id1", 0, 0, 0.0, 1.0))
        assert "waiting" not in status._line()
    assert "answer rejected: r-0001-cd.answer.json" in stream.getvalue()
