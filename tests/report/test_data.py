"""What a report says of a run, from records alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kforge.data.records import Candidate
from kforge.report import lineage
from kforge.report.curve import curve_of
from kforge.report.failures import MAX_REASONS, failures_of
from kforge.report.lineage import diff_of, lineage_of
from kforge.search.accounts import accounts_of
from kforge.types import BuildFailed, CheckFailed, ScreenedOut
from tests.evolve.world import candidate_text, passed
from tests.report.runs import START, Told, faster, prose, records_of, report, run_row


def test_best_so_far_is_what_the_archive_calls_best() -> None:
    # The third is quicker on average, but its lower bound is not higher: the best stays.
    lucky = replace(passed(2.5), speedup_low=1.5, speedup_high=4.0)
    records = records_of([Told(BuildFailed("no", "")), faster(2.0, 1, None, (0, 1, 0)), Told(lucky), prose()])
    points = curve_of(records)
    assert [p.told for p in points] == [1, 2, 3, 4]
    assert [p.best and p.best.speedup for p in points] == [None, 2.0, 2.0, 2.0]
    assert [p.improved for p in points] == [False, True, False, False]
    winner = report(records).winner
    assert winner is not None
    assert (winner.ordinal, winner.cell) == (1, "scalar / fused / items")


def test_accounts_by_model_and_kind() -> None:
    told = [
        Told(passed(2.0), kind="first", model="openai: big", key="k", usd=1.0),
        Told(passed(2.0), model="openai: big", key="k", usd=1.0),  # an exact duplicate
        Told(BuildFailed("no", ""), kind="repair", model="openai: small", usd=0.5),
        Told(model="openai: small", answered=False),
        prose("openai: small"),
    ]
    accounts = {(a.by, a.name): a for a in accounts_of(records_of(told))}
    big, small = accounts["model", "openai: big"], accounts["model", "openai: small"]
    assert (big.proposals, big.replies, big.parsed, big.passed, big.elites) == (2, 2, 2, 1, 1)
    assert (big.best_speedup, big.tokens, big.usd, big.usd_per_passed) == (2.0, 240, 2.0, 2.0)
    assert (small.proposals, small.replies, small.parsed, small.passed) == (3, 2, 1, 0)
    assert (small.best_speedup, small.usd_per_passed) == (None, None)
    assert [a.name for a in accounts_of(records_of(told)) if a.by == "kind"] == ["first", "improve", "repair"]
    assert accounts["kind", "first"].proposals == 2


def test_kinds_are_whatever_was_stored() -> None:
    records = records_of([Told(kind="given", model="file: mine.py", answered=False), Told(kind="novel")])
    assert {a.name for a in accounts_of(records) if a.by == "kind"} == {"given", "novel"}


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((), "fixed rules"),
        (("offline",), "fixed rules"),
        (("replay: gpt-9",), "played back"),
        (("ensemble: offline", "ensemble: replay", "ensemble"), "fixed rules"),
        (("ensemble: offline", "ensemble: openai:big"), ""),
        (("openai:big", "offline"), ""),
        (("file: mine.py", "offline"), "files that the user gave"),
        (("file: mine.py", "openai: big"), ""),
        (("exchange: someone",), ""),
    ],
)
def test_says_when_no_model_was_asked(models: tuple[str, ...], said: str) -> None:
    records = records_of([Told(BuildFailed("no", ""), model=model) for model in models])
    found = report(records).no_model
    assert (said in found) if said else found == ""


@pytest.mark.parametrize(
    ("config", "said"), [({"model": "offline"}, True), ({"models": ["openai:big"]}, False), ({}, False)]
)
def test_before_the_first_request_the_settings_say_who(config: dict[str, object], said: bool) -> None:
    records = records_of([], replace(run_row(), config=config))
    assert bool(report(records).no_model) == said


def test_failures_by_class_with_the_commonest_reasons() -> None:
    reasons = [f"x.cpp:{line}:1: error: unknown type" for line in (3, 9, 27)]
    reasons += [f"{word} is wrong" for word in ("this", "that", "the other")]
    told = [Told(BuildFailed(reason, f"log of {reason}")) for reason in reasons]
    told += [Told(ScreenedOut("grid is 0", "grid")), faster(2.0, 9, None, (0, 0, 0))]
    built, screened = failures_of(records_of(told))
    assert (built.status, built.count, built.share) == ("build_failed", 6, 0.75)
    assert (built.reasons[0].text, built.reasons[0].count) == (reasons[0], 3)
    assert (len(built.reasons), built.other_reasons) == (MAX_REASONS, 1)
    assert (built.example_ordinal, built.example) == (5, "log of the other is wrong")
    assert (screened.count, screened.example) == (1, "grid is 0")


def test_lineage_from_first_ancestor_to_winner() -> None:
    told = [
        prose("openai: talker"),
        Told(CheckFailed("row 3 is off", "mismatch", "default", 2), parent=0, source=candidate_text("1")),
        faster(3.0, 2, 1, (0, 0, 0)),
        faster(2.0, 3, None, (1, 0, 0)),
    ]
    steps = report(records_of(told)).lineage.steps
    assert [s.ordinal for s in steps] == [0, 1, 2]
    assert [s.status for s in steps] == ["parse_failed", "check_failed", "passed"]
    assert [s.diff.note for s in steps] == ["the first of its line", "its parent's reply held no kernel", ""]
    assert (steps[1].reason, steps[0].model) == ("row 3 is off", "openai: talker")
    changed = [line for line in steps[2].diff.lines if line.kind in {"added", "removed"}]
    assert [(line.kind, line.text) for line in changed] == [("removed", "// gene 1"), ("added", "// gene 2")]


def test_lineage_that_is_long_is_cut_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "MAX_STEPS", 4)
    told = [faster(2.0 + n, n, n - 1 if n else None, (0, 0, 0)) for n in range(9)]
    found = lineage_of(records_of(told), "c8")
    assert ([s.ordinal for s in found.steps], found.hidden) == ([0, 6, 7, 8], 5)
    # The second step shown is compared with its own parent, not with the one shown before it.
    assert [line.text for line in found.steps[1].diff.lines if line.kind == "removed"] == ["// gene 5"]


def test_lineage_of_a_circle_ends() -> None:
    records = records_of([faster(2.0, 0, 1, (0, 0, 0)), faster(3.0, 1, 0, (0, 0, 0))])
    assert len(lineage_of(records, "c1").steps) == 2


def test_diff_is_bounded() -> None:
    def candidate(source: str) -> Candidate:
        return Candidate("c", "p", 0, None, source, None, {}, START)

    long = diff_of(candidate("a\n" * 1500), candidate("b\n" * 1500))
    assert (len(long.lines), long.added, long.removed) == (lineage.MAX_DIFF_LINES, 1500, 1500)
    assert long.hidden == 3001 - lineage.MAX_DIFF_LINES  # the hunk's line is one of them
    assert diff_of(candidate("a\n" * 9000), candidate("b")).note.startswith("too long to compare: 9,000")
    wide = diff_of(candidate("a"), candidate("b" * 100_000))
    assert max(len(line.text) for line in wide.lines) < lineage.MAX_LINE_CHARS + 50
    assert diff_of(candidate("a"), candidate("a")).note == "nothing: the same text"


def test_time_counts_every_evaluation_once() -> None:
    told = [Told(passed(2.0), key="k"), Told(passed(2.0), key="k"), Told(BuildFailed("no", ""))]
    time = report(records_of(told)).time
    assert (time.build_s, time.check_s, time.bench_s) == (0.5, 1.0, 2.0)
    assert (time.session_s, time.idle_s) == (None, None)


def test_commands_are_quoted() -> None:
    commands = report(records_of([], run_row(task_id="./a b.py; rm -rf x"))).commands
    assert commands.resume == "kforge evolve --resume demo"
    assert commands.again is not None
    assert "--task './a b.py; rm -rf x' --size small" in commands.again
    assert "--model offline --track sealed --evals 8 --seed 7" in commands.again
    unknown = replace(run_row(), config={})
    assert report(records_of([], unknown)).commands.again is None
