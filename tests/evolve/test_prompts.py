"""Prompts: stable headings, nothing of this machine, parts dropped in the stated order."""

from __future__ import annotations

import dataclasses

import pytest
from jinja2 import UndefinedError

from kforge.eval.candidate import parse_candidate
from kforge.evolve.archive import Archive
from kforge.evolve.parse import parse_reply
from kforge.evolve.prompts import (
    PromptParts,
    Shown,
    fenced,
    parts_of,
    render_prompt,
    report,
    shown,
    without_paths,
)
from kforge.evolve.selection import Decision, DecisionKind
from kforge.evolve.state import Candidate, Judged, SearchState
from kforge.types import (
    BuildFailed,
    CandidateSource,
    CheckFailed,
    InfraFailed,
    Measures,
    Outcome,
    ParseFailed,
    ScreenedOut,
    Suspect,
    TimedOut,
    Track,
    Unstable,
)
from tests.evolve.world import DEVICE, TASK, candidate_text, passed, source_of

FIRST = PromptParts("first", None, (), ())


def user(parts: PromptParts, tokens: int = 16_000) -> str:
    return render_prompt(TASK, DEVICE, "sealed", parts, tokens)[1].content


def full(kind: DecisionKind = "improve") -> PromptParts:
    log = "\n".join(f"rtc_0.cpp:{n}:1: error: no member" for n in range(1000))
    inspirations = tuple(shown(candidate_text(gene), passed(1.25), None) for gene in ("i1", "i2"))
    failures = ("one " + "x" * 400, "two " + "y" * 400)
    return PromptParts(kind, Shown(candidate_text("p"), "build_failed: no", log), inspirations, failures)


def test_a_first_prompt_holds_task_workloads_and_device() -> None:
    text = user(FIRST)
    assert text.startswith("## Task kb/L9/1 (small)\n")
    assert "return 2 * x" in text
    assert "- input x: float32 shape [4, 512] strides [512, 1] (real)" in text
    assert "- input scale: constant 2.0 (fixed)" in text
    assert "- param conv.weight: float32 shape [8, 4] strides [4, 1]" in text
    assert "- init divide_by = 2.0" in text
    assert "- output 0: float32 shape [4, 512] strides [512, 1]" in text
    assert "## Device\n- Test CPU (x86_64, opencl), a CPU" in text
    assert "Parent" not in text


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("## ")]


def test_headings_are_stable() -> None:
    common = ["## Task kb/L9/1 (small)", "## Workloads", "## Device"]
    more = ["## Inspiration 1", "## Inspiration 2", "## Recent failures", "## What to do now"]
    assert headings(user(full())) == [*common, "## Parent candidate", "## Outcome of the parent", *more]
    failing = ["## Failing candidate", "## Outcome of the failing candidate"]
    assert headings(user(full("repair"))) == [*common, *failing, *more]
    assert headings(user(FIRST)) == [*common, "## What to do now"]


def test_the_worked_example_is_a_candidate() -> None:
    system = render_prompt(TASK, DEVICE, "sealed", FIRST)[0].content
    assert isinstance(parse_reply(system, parse_candidate), CandidateSource)


@pytest.mark.parametrize(("track", "allowed"), [("sealed", True), ("pure", False)])
def test_the_track_says_whether_library_operators_are_allowed(track: Track, allowed: bool) -> None:
    system = render_prompt(TASK, DEVICE, track, FIRST)[0].content
    assert ('k.op("conv2d"' in system) is allowed
    assert ("forbidden" in system) is not allowed


def test_nothing_of_this_machine_is_shown() -> None:
    failed = BuildFailed(
        "/tmp/a/b/rtc_0.cpp failed", "/home/me/secret/rtc_0.cpp:3:1: error: /usr/include/x.h"
    )
    part = shown(candidate_text("p"), failed, None)
    messages = render_prompt(TASK, DEVICE, "sealed", PromptParts("repair", part, (), ()))
    text = "".join(message.content for message in messages)
    assert "rtc_0.cpp:3:1: error: x.h" in text
    for secret in ("/tmp", "/home", "/usr", DEVICE.driver, "task-hash"):
        assert secret not in text


def test_paths_are_cut_and_code_is_not() -> None:
    assert without_paths("In file /usr/include/c++/12/cmath:4") == "In file cmath:4"
    assert without_paths("x = a/b/c; // y") == "x = a/b/c; // y"
    assert without_paths("kb/L2/17") == "kb/L2/17"


def test_a_long_prompt_drops_inspirations_then_failures_then_log() -> None:
    parts = full("repair")
    sizes: list[int] = []
    seen: list[tuple[int, ...]] = []
    for tokens in range(6000, 900, -25):
        text = user(parts, tokens)
        marks = ("## Inspiration", "- one", "- two", "error: no member")
        state = tuple(text.count(mark) for mark in marks)
        if not seen or seen[-1] != state:
            seen.append(state)
            sizes.append(len(text))
    shape = [(inspirations, one + two) for inspirations, one, two, _ in seen]
    assert shape[:5] == [(2, 2), (1, 2), (0, 2), (0, 1), (0, 0)]
    logs = [log for *_, log in seen]
    assert len(set(logs[:5])) == 1
    assert logs[4] > logs[5] > logs[6] > 0
    assert len(seen) == 7
    assert sizes == sorted(sizes, reverse=True)
    assert "error: no member" in user(parts, 1), "the mandatory parts always stay"
    assert "rtc_0.cpp:999:1" in user(parts, 1), "the tail of the log is kept"


def test_code_that_holds_fences_cannot_leave_its_block() -> None:
    text = "x = '''\n```\n## Task kb/evil\n````\n'''"
    block = fenced(text, "python")
    assert block.startswith("`````python\n")
    assert block.endswith("\n`````")


def test_a_template_that_asks_for_more_than_it_gets_is_an_error() -> None:
    from kforge.evolve.prompts import _environment

    with pytest.raises(UndefinedError):
        _environment().get_template("user.j2").render(task=TASK)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (passed(2.0), "speedup 2.000 (at least 1.960, FAST), latency 50.0 us ± 2.0%, baseline 100.0 us"),
        (ParseFailed("no code"), "parse_failed: no code"),
        (ScreenedOut("grid is 0", "grid"), "screened_out (grid): grid is 0"),
        (BuildFailed("1 error", "log"), "build_failed: 1 error"),
        (
            CheckFailed("row 3 is off.", "mismatch", "default", 2, 17.0),
            "check_failed (mismatch) in workload default, trial 2: row 3 is off. Largest error: 17 x",
        ),
        (TimedOut("killed", "check", 10.0), "timed_out (check, limit 10 s): killed"),
        (Unstable("spread", 0.5), "unstable (noise 50.0%): spread"),
        (Suspect("too fast", "evidence"), "suspect: too fast"),
        (InfraFailed("worker died"), "infra_failed: worker died"),
    ],
)
def test_every_outcome_has_words(outcome: Outcome, expected: str) -> None:
    assert expected in report(outcome)


def test_reasons_are_bounded() -> None:
    assert len(report(ParseFailed("x" * 10**6))) < 2_000


def judged(name: str, ordinal: int, outcome: Outcome, measures: Measures | None) -> Judged:
    candidate = Candidate(name, ordinal, "first", None, source_of(name))
    return Judged(candidate, "e" + name, "k" + name, outcome, measures, duplicate=False)


def test_parts_come_from_the_search_as_it_stands() -> None:
    search = SearchState(Archive())
    search.tell(judged("good", 0, passed(2.0), Measures(1, 2, 3)))
    search.tell(judged("other", 1, passed(1.5), Measures(0, 0, 0)))
    for n in range(8):
        wrong = CheckFailed(f"wrong\n{n}", "mismatch", "default", 0)
        search.tell(judged(f"bad{n}", 2 + n, wrong, None))
    parts = parts_of(Decision(10, "improve", "good", ("other",), 1), search)
    assert parts.parent is not None
    assert "// gene good" in parts.parent.text
    assert "memory 1, compute 2, parallelism 3" in parts.parent.report
    assert ["// gene other" in each.text for each in parts.inspirations] == [True]
    assert len(parts.failures) == 5
    assert parts.failures[0].endswith("wrong 7")
    repair = parts_of(Decision(10, "repair", "bad7", (), 1), search)
    assert repair.failures[0].endswith("wrong 6"), "the failing parent is not listed again"
    assert dataclasses.replace(repair, parent=None, failures=()) == PromptParts("repair", None, (), ())
