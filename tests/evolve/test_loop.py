"""The loop against a pool with recorded outcomes and a store on disk."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from kforge.data.store import Store
from kforge.errors import InfraError, NoMoreReplies, UsageError
from kforge.search.budget import Limits
from kforge.search.context import LoopConfig
from kforge.search.events import (
    BudgetWarning,
    CandidateBuilt,
    CandidateEvaluated,
    EliteChanged,
    Event,
    InfraRetried,
    ProposalSent,
    ReplyReceived,
    RunEnded,
    RunStarted,
    SessionFailing,
)
from kforge.search.pool import EvaluationRequest, MeasureReport
from kforge.search.proposer import ProposalRequest, Reply
from kforge.types import Built, StageSeconds
from tests.evolve.world import (
    FlakyPool,
    ScriptProposer,
    WorldPool,
    WorldProposer,
    config,
    make_run,
    open_store,
    passed,
    run_session,
)


def test_a_run_spends_exactly_its_evaluations(store: Store) -> None:
    pool = WorldPool(in_flight=3)
    summary = run_session(store, config(25), pool, WorldProposer())
    records = store.load_run(make_run(store))
    assert summary.state == "finished"
    assert summary.evaluations == 25
    assert len(records.evaluations) == len(records.candidates) == 25 + summary.duplicates
    assert summary.proposals == len(records.proposals) == len(records.candidates)
    assert sum(summary.statuses.values()) == len(records.evaluations)
    assert records.run.state == "finished"
    assert records.run.summary is not None
    assert records.run.summary["evaluations"] == 25
    assert summary.offline
    assert summary.proposer == "world"
    assert summary.usd == pytest.approx(0.5 * summary.proposals)
    assert summary.device_idle_s == 0.125
    assert pool.most_busy <= 3


def test_the_best_candidate_is_the_elite_with_the_highest_bound(store: Store) -> None:
    proposer = ScriptProposer("ok:1.5:000", "ok:3.0:110", "ok:2.0:222", "ok:2.5:110")
    summary = run_session(store, config(4), WorldPool(), proposer)
    assert summary.best is not None
    assert summary.best.ordinal == 1
    assert summary.best.outcome.speedup == 3.0
    assert "// gene ok:3.0:110" in summary.best.source
    assert [(e.measures.cell, e.speedup) for e in summary.elites] == [
        ((0, 0, 0), 1.5),
        ((1, 1, 0), 3.0),
        ((2, 2, 2), 2.0),
    ]
    assert summary.coverage == 3 / 64
    events = store.load_run(make_run(store)).archive_events
    assert [(e.event.status, e.event.cell) for e in events] == [
        ("new", "0/0/0"),
        ("new", "1/1/0"),
        ("new", "2/2/2"),
        ("rejected", "1/1/0"),
    ]


def test_every_failure_class_is_stored_and_none_enters_the_archive(store: Store) -> None:
    genes = ["prose", "screened", "build", "check", "timeout", "unstable", "suspect"]
    summary = run_session(store, config(len(genes)), WorldPool(), ScriptProposer(*genes))
    assert summary.statuses == {
        "build_failed": 1,
        "check_failed": 1,
        "parse_failed": 1,
        "screened_out": 1,
        "suspect": 1,
        "timed_out": 1,
        "unstable": 1,
    }
    assert summary.best is None
    assert summary.elites == ()
    assert summary.state == "finished"
    assert store.load_run(make_run(store)).archive_events == ()


def test_an_exact_duplicate_costs_no_device_time_and_no_budget(store: Store) -> None:
    pool = WorldPool(in_flight=1)
    summary = run_session(store, config(3), pool, ScriptProposer("ok:1:000", "ok:1:000", "build", "ok:2:000"))
    assert pool.built == {"ok:1:000": 1, "build": 1, "ok:2:000": 1}
    assert (summary.evaluations, summary.duplicates) == (3, 1)
    records = store.load_run(make_run(store))
    first, second = records.evaluations[:2]
    assert second.value.reused_from == first.id
    assert second.value.outcome == first.value.outcome


def test_a_source_in_flight_is_waited_for_not_built_twice(store: Store) -> None:
    pool = WorldPool(in_flight=4, delay_s=lambda gene: 0.02)
    summary = run_session(
        store, config(4), pool, ScriptProposer(*["ok:1:000"] * 4, "ok:2:111", "build", "check")
    )
    assert pool.built["ok:1:000"] == pool.measured["ok:1:000"] == 1
    assert (summary.evaluations, summary.duplicates) == (4, 3)


def test_the_outcome_of_another_run_is_reused(store: Store) -> None:
    first = WorldPool()
    run_session(store, config(2), first, ScriptProposer("ok:1:000", "build"))
    second = WorldPool()
    other = make_run(store, "r2")
    summary = run_session(
        store, config(3), second, ScriptProposer("ok:1:000", "build", "check"), run_id=other
    )
    assert second.built == {"check": 1}
    assert summary.evaluations == 3
    assert summary.best is not None
    original = store.load_run(make_run(store)).evaluations[0]
    assert store.load_run(other).evaluations[0].value.reused_from == original.id


def test_another_harness_version_measures_again(store: Store) -> None:
    run_session(store, config(1), WorldPool(), ScriptProposer("ok:1:000"))
    pool = WorldPool()
    newer = LoopConfig(1, 7, "harness-2", deterministic=True)
    run_session(store, newer, pool, ScriptProposer("ok:1:000"), run_id=make_run(store, "r2"))
    assert pool.measured == {"ok:1:000": 1}


def test_a_proposer_that_repeats_itself_ends_the_run(store: Store) -> None:
    events: list[Event] = []
    summary = run_session(store, config(3), WorldPool(), ScriptProposer("build"), on_event=events.append)
    assert summary.state == "budget"
    assert (summary.evaluations, summary.proposals) == (1, 12)
    assert [e.limit for e in events if isinstance(e, BudgetWarning)] == ["proposals"]


def test_a_failure_is_repaired_once_and_repairs_are_not_repaired_for_ever(store: Store) -> None:
    proposer = ScriptProposer(*[f"build:{n}" for n in range(40)])
    run_session(store, config(12), WorldPool(in_flight=1), proposer)
    records = store.load_run(make_run(store))
    kinds = [p.kind for p in records.proposals]
    # The archive stays empty: a first attempt, three repairs in a row, then a fresh start.
    assert kinds == ["first", "repair", "repair", "repair"] * 3
    repaired = [p.parents[0] for p in records.proposals if p.kind == "repair"]
    assert len(repaired) == len(set(repaired))


def test_improvement_prompts_show_the_parent_and_its_outcome(store: Store) -> None:
    proposer = ScriptProposer("ok:2:000", "ok:3:111")
    run_session(store, config(2), WorldPool(in_flight=1), proposer)
    prompt = proposer.requests[1].messages[1].content
    assert "## Parent candidate" in prompt
    assert "// gene ok:2:000" in prompt
    assert "speedup 2.000" in prompt


@pytest.mark.parametrize("stage", ["build", "measure"])
def test_infrastructure_failures_are_retried_and_never_scored(store: Store, stage: str) -> None:
    events: list[Event] = []
    summary = run_session(
        store, config(1), FlakyPool(3, stage), ScriptProposer("ok:1:000"), on_event=events.append
    )
    assert summary.statuses == {"passed": 1}
    assert [e.attempt for e in events if isinstance(e, InfraRetried)] == [1, 2, 3]
    infra = store.load_run(make_run(store)).infra_events
    assert [e.reason for e in infra] == ["worker died"] * 3


class UnreachableProposer(ScriptProposer):
    def __init__(self, failures: int, hang: bool) -> None:
        super().__init__("ok:1:000")
        self._failures = failures
        self._hang = hang

    async def propose(self, request: ProposalRequest) -> Reply:
        self._failures -= 1
        if self._failures >= 0:
            if self._hang:
                await asyncio.sleep(60)
            raise InfraError("connection refused", "start the server")
        return await super().propose(request)


@pytest.mark.parametrize("hang", [False, True])
def test_a_request_without_an_answer_is_abandoned_and_sent_again(store: Store, hang: bool) -> None:
    settings = config(1, proposal_deadline_s=0.05 if hang else 60.0)
    summary = run_session(store, settings, WorldPool(), UnreachableProposer(3, hang))
    assert (summary.state, summary.proposals, summary.abandoned) == ("finished", 4, 3)
    states = [(p.ordinal, p.attempt, p.state) for p in store.load_run(make_run(store)).proposals]
    assert states == [(0, 0, "abandoned"), (0, 1, "abandoned"), (0, 2, "abandoned"), (0, 3, "replied")]


def test_a_dead_proposer_stops_the_run(store: Store) -> None:
    with pytest.raises(InfraError, match="connection refused") as caught:
        run_session(store, config(1), WorldPool(), UnreachableProposer(4, False))
    assert "--resume r1" in caught.value.next_step


def test_what_is_under_way_is_finished_when_a_proposal_fails(store: Store) -> None:
    class OneFails(ScriptProposer):
        async def propose(self, request: ProposalRequest) -> Reply:
            if request.ordinal == 1:
                raise NoMoreReplies("no credit left", "add credit")
            await asyncio.sleep(0.05)
            return await super().propose(request)

    events: list[Event] = []
    proposer = OneFails(*[f"ok:{n}:000" for n in range(1, 9)])
    settings = config(8, in_flight=4, deterministic=False)
    with pytest.raises(NoMoreReplies):
        run_session(store, settings, WorldPool(in_flight=4), proposer, on_event=events.append)
    records = store.load_run(make_run(store))
    assert [p.state for p in records.proposals] == ["replied", "abandoned", "replied", "replied"]
    assert len(records.evaluations) == 3, "what was paid for is told"
    assert [e.in_flight for e in events if isinstance(e, SessionFailing)] == [3]
    assert records.run.state == "interrupted"


def test_a_proposer_without_more_replies_is_asked_once(store: Store) -> None:
    class Broke(ScriptProposer):
        async def propose(self, request: ProposalRequest) -> Reply:
            self.requests.append(request)
            raise NoMoreReplies("no credit left", "add credit")

    proposer = Broke()
    with pytest.raises(NoMoreReplies, match="no credit left") as caught:
        run_session(store, config(1, in_flight=1), WorldPool(), proposer)
    assert "add credit; then kforge evolve --resume r1" in caught.value.next_step
    assert len(proposer.requests) == 1


def test_an_unsupported_task_is_refused_before_anything_is_asked(store: Store) -> None:
    class Choosy(ScriptProposer):
        def supports(self, task: object) -> str | None:
            return "it writes for matmul only; use --model"

    with pytest.raises(UsageError, match="matmul only"):
        run_session(store, config(1), WorldPool(), Choosy("build"))
    assert store.load_run(make_run(store)).proposals == ()


def test_events_come_in_the_order_of_a_candidates_life(store: Store) -> None:
    events: list[Event] = []
    run_session(store, config(1), WorldPool(), ScriptProposer("ok:2:123"), on_event=events.append)
    assert [type(event) for event in events] == [
        RunStarted,
        ProposalSent,
        ReplyReceived,
        CandidateBuilt,
        CandidateEvaluated,
        EliteChanged,
        RunEnded,
    ]


def test_deterministic_runs_are_equal_whatever_finishes_first(tmp_path: Path) -> None:
    archives = []
    for name, delay in (("a", 0.0), ("b", 0.004)):
        (tmp_path / name).mkdir()
        with open_store(tmp_path / name) as store:
            pool = WorldPool(in_flight=4, delay_s=lambda gene, d=delay: d * (int(gene) % 3))  # type: ignore[misc]
            summary = run_session(store, config(30), pool, WorldProposer(delay_s=delay))
            archives.append([(e.ordinal, e.measures, e.objective) for e in summary.elites])
            assert summary.duplicates > 0
    assert archives[0] == archives[1]
    assert len(archives[0]) > 3


def test_results_are_told_as_they_complete_unless_asked_otherwise(store: Store) -> None:
    told: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, CandidateEvaluated):
            told.append(event.ordinal)

    pool = WorldPool(in_flight=2, delay_s=lambda gene: 0.2 if gene == "ok:1:000" else 0.0)
    proposer = ScriptProposer("ok:1:000", "ok:2:111", "ok:3:222", "ok:4:333")
    run_session(store, config(4, deterministic=False), pool, proposer, on_event=watch)
    assert told == [1, 2, 3, 0]


@pytest.mark.parametrize(("evals", "minutes"), [(0, None), (-1, None), (5, 0.0), (5, float("nan"))])
def test_limits_that_allow_nothing_are_refused(evals: int, minutes: float | None) -> None:
    with pytest.raises(UsageError, match="greater than 0"):
        LoopConfig(evals, 1, "h", limits=Limits(minutes=minutes))


def test_a_failing_build_keeps_its_log_and_a_good_one_its_measures(store: Store) -> None:
    run_session(store, config(2), WorldPool(in_flight=1), ScriptProposer("build", "ok:2:123"))
    records = store.load_run(make_run(store))
    bad, good = (records.builds[c.id] for c in records.candidates)
    assert not bad.ok
    assert "unknown type name 'flaot'" in bad.log
    assert good.ok
    assert good.measures is not None
    assert good.measures.cell == (1, 2, 3)
    assert [e.value.seconds.build for e in records.evaluations] == [0.25, 0.25]


def test_a_hostile_reply_is_stored_and_the_run_goes_on(store: Store) -> None:
    class Hostile(ScriptProposer):
        async def propose(self, request: ProposalRequest) -> Reply:
            if request.ordinal == 0:
                return Reply("```python\n\x00\ud800" + "x" * 2_000_000, "\x00\ud800", 1, 1, 0.0)
            return await super().propose(request)

    summary = run_session(store, config(2), WorldPool(in_flight=1), Hostile("build", "ok:2:123"))
    assert summary.statuses == {"parse_failed": 1, "passed": 1}
    stored = store.load_run(make_run(store)).proposals[0].reply
    assert stored is not None
    assert len(stored.text) < 1_001_000
    assert stored.reasoning == "\ufffd?"


def test_a_speedup_that_is_no_number_is_broken_infrastructure(store: Store) -> None:
    class BrokenClock(WorldPool):
        async def measure(self, request: EvaluationRequest, built: Built) -> MeasureReport:
            return MeasureReport(dataclasses.replace(passed(1.0), speedup_low=0.0), StageSeconds())

    with pytest.raises(InfraError, match=r"speedup of at least 0\.0"):
        run_session(store, config(1), BrokenClock(), ScriptProposer("ok:1:000"))
    assert store.load_run(make_run(store)).evaluations == ()
