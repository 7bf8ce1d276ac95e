"""How sessions of a run end and go on: stops, limits, broken infrastructure, leases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kforge.clock import SystemClock
from kforge.data.lease import LEASE_S, LeaseOwner, this_process
from kforge.data.store import Store
from kforge.errors import InfraError, StoreError, UsageError
from kforge.search.events import (
    BudgetWarning,
    CandidateBuilt,
    CandidateEvaluated,
    Event,
    RunEnded,
    RunStarted,
    StopRequested,
)
from kforge.search.stop import StopSignal
from tests.evolve.world import (
    FlakyPool,
    ScriptProposer,
    WorldPool,
    WorldProposer,
    config,
    make_run,
    outcomes_by_ordinal,
    run_session,
)


@pytest.mark.parametrize("stage", ["build", "measure"])
def test_broken_infrastructure_stops_the_run_and_it_can_go_on(store: Store, stage: str) -> None:
    with pytest.raises(InfraError, match="worker died") as caught:
        run_session(store, config(2), FlakyPool(4, stage), ScriptProposer("ok:1:000", "build"))
    assert "kforge evolve --resume r1" in caught.value.next_step
    records = store.load_run(make_run(store))
    assert records.run.state == "interrupted"
    assert records.evaluations == ()
    assert len(records.candidates) == 1
    proposer = ScriptProposer("ok:1:000", "build")
    summary = run_session(store, config(2), WorldPool(in_flight=1), proposer)
    assert [request.ordinal for request in proposer.requests] == [1]
    assert summary.statuses == {"build_failed": 1, "passed": 1}


def test_a_stop_drains_what_is_in_flight(store: Store) -> None:
    stop, events = StopSignal(), list[Event]()

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, CandidateEvaluated) and event.ordinal == 2:
            stop.request()

    pool = WorldPool(in_flight=3, delay_s=lambda gene: 0.01)
    summary = run_session(store, config(50), pool, WorldProposer(), on_event=watch, stop=stop)
    records = store.load_run(make_run(store))
    assert summary.state == records.run.state == "interrupted"
    assert len(records.candidates) == len(records.evaluations) == 5
    assert [e.level for e in events if isinstance(e, StopRequested)] == [1]
    assert isinstance(events[-1], RunEnded)


def test_a_second_stop_cancels_and_the_cut_off_work_is_done_on_resume(store: Store) -> None:
    stop = StopSignal()

    def watch(event: Event) -> None:
        if isinstance(event, CandidateBuilt) and event.ordinal >= 2:
            stop.request()
            stop.request()

    slow = WorldPool(in_flight=3, delay_s=lambda gene: 0.05)
    genes = [f"ok:{n + 1}:{n % 4}00" for n in range(6)]
    summary = run_session(store, config(6), slow, ScriptProposer(*genes), on_event=watch, stop=stop)
    assert summary.state == "interrupted"
    cut = store.load_run(make_run(store))
    assert len(cut.evaluations) < len(cut.candidates)
    assert all(p.state != "requested" for p in cut.proposals)
    started: list[Event] = []
    again = run_session(store, config(6), WorldPool(), ScriptProposer(*genes), on_event=started.append)
    assert again.state == "finished"
    assert isinstance(started[0], RunStarted)
    assert started[0].requeued == len(cut.candidates) - len(cut.evaluations)
    assert sorted(outcomes_by_ordinal(store, make_run(store))) == list(range(6))


class JumpingClock(SystemClock):
    """Every look at the clock is half a minute later."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        self._now_s += 30.0
        return self._now_s


def test_the_minutes_limit_ends_the_session_with_state_budget(store: Store) -> None:
    events: list[Event] = []
    summary = run_session(
        store,
        config(1000, minutes=10),
        WorldPool(),
        WorldProposer(genes=5000),
        on_event=events.append,
        clock=JumpingClock(),
    )
    assert summary.state == "budget"
    assert 0 < summary.evaluations < 40
    warnings = [e for e in events if isinstance(e, BudgetWarning)]
    assert {warning.limit for warning in warnings} == {"minutes"}
    assert warnings[-1].share == 1.0
    more = run_session(
        store, config(1000, minutes=10), WorldPool(), WorldProposer(genes=5000), clock=JumpingClock()
    )
    assert more.evaluations > summary.evaluations, "a resumed run gets its minutes anew"


def test_a_finished_run_does_nothing_more(store: Store) -> None:
    before = run_session(store, config(5), WorldPool(), WorldProposer())
    proposer, pool = WorldProposer(), WorldPool()
    after = run_session(store, config(5), pool, proposer)
    assert proposer.prompts == []
    assert not pool.built
    assert after.elites == before.elites
    assert after.statuses == before.statuses
    assert (after.usd, after.proposals) == (before.usd, before.proposals)


def test_a_larger_budget_continues_a_finished_run(store: Store) -> None:
    run_session(store, config(5), WorldPool(), WorldProposer())
    more = run_session(store, config(9), WorldPool(), WorldProposer())
    assert (more.state, more.evaluations) == ("finished", 9)


@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4)])
def test_a_run_goes_on_with_another_window(store: Store, before: int, after: int) -> None:
    stop = StopSignal()

    def watch(event: Event) -> None:
        if isinstance(event, CandidateEvaluated) and event.evaluations == 10:
            stop.request()
            stop.request()

    run_session(
        store, config(20, in_flight=before), WorldPool(), WorldProposer(400), on_event=watch, stop=stop
    )
    summary = run_session(store, config(20, in_flight=after), WorldPool(), WorldProposer(400))
    records = store.load_run(make_run(store))
    assert (summary.state, summary.evaluations) == ("finished", 20)
    assert [c.ordinal for c in records.candidates] == list(range(len(records.candidates)))
    assert len(records.evaluations) == len(records.candidates)


def test_the_lease_is_renewed_while_the_run_lasts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kforge.search.watch.RENEW_S", 0.01)
    owner = LeaseOwner("elsewhere", 4, "then")
    now = SystemClock().now()
    lease = store.acquire(make_run(store), owner, now - timedelta(seconds=LEASE_S - 1))
    pool = WorldPool(delay_s=lambda gene: 0.1)
    run_session(store, config(1), pool, ScriptProposer("ok:1:000"), lease=lease)
    with pytest.raises(UsageError, match="driven by process 4"):
        store.acquire(make_run(store), this_process(), now + timedelta(seconds=2))


def test_a_lost_lease_stops_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kforge.search.watch.RENEW_S", 0.01)
    owner = LeaseOwner("elsewhere", 4, "then")
    now = SystemClock().now()
    lost = store.acquire(make_run(store), owner, now - timedelta(seconds=LEASE_S + 1))
    store.acquire(make_run(store), this_process(), now)
    pool = WorldPool(delay_s=lambda gene: 5.0)
    with pytest.raises(StoreError, match="lost the run"):
        run_session(store, config(1), pool, ScriptProposer("ok:1:000"), lease=lost)
    assert pool.busy == 0, "nothing of the session runs on"
