"""Limits in dollars, tokens and device time: never exceeded, warned of, and what is paid for is evaluated."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kforge.data.store import Store
from kforge.errors import UsageError
from kforge.search.budget import NO_LIMITS, Ledger, Limits
from kforge.search.events import BudgetWarning, CandidateEvaluated, Event
from kforge.search.pool import EvaluationRequest, MeasureReport
from kforge.search.proposer import NO_CHARGE, ProposalRequest, Quote, Reply, Unanswered
from kforge.search.summary import RunSummary, Spend
from kforge.types import Built
from tests.evolve.world import ScriptProposer, WorldPool, config, make_run, run_session


class PricedProposer(ScriptProposer):
    """Quotes a dollar and 1,000 tokens; a reply costs half a dollar and 120 tokens."""

    def quote(self, request: ProposalRequest) -> Quote:
        return Quote(1000, 1.0)


class DearProposer(PricedProposer):
    """Charges what it quoted."""

    async def propose(self, request: ProposalRequest) -> Reply:
        return dataclasses.replace(await super().propose(request), usd=1.0)


class SlowPool(WorldPool):
    """Every measurement takes two seconds of the device."""

    async def measure(self, request: EvaluationRequest, built: Built) -> MeasureReport:
        report = await super().measure(request, built)
        return MeasureReport(report.outcome, dataclasses.replace(report.seconds, check=0.5, bench=1.5))


GENES = [f"ok:{1 + n / 10}:{n % 4}{n // 4 % 4}0" for n in range(40)]


def session(
    store: Store, limits: Limits, proposer: ScriptProposer, pool: WorldPool | None = None, evals: int = 40
) -> tuple[RunSummary, list[Event]]:
    events: list[Event] = []
    summary = run_session(
        store, config(evals, limits=limits), pool or WorldPool(), proposer, on_event=events.append
    )
    return summary, events


def warned(events: list[Event]) -> list[tuple[str, float]]:
    return [(e.limit, e.share) for e in events if isinstance(e, BudgetWarning)]


@pytest.mark.parametrize("proposer", [PricedProposer, DearProposer])
def test_dollars_are_never_exceeded_and_what_is_paid_for_is_evaluated(
    store: Store, proposer: type[PricedProposer]
) -> None:
    summary, events = session(store, Limits(usd=5.0), proposer(*GENES))
    assert summary.state == "budget"
    assert summary.usd <= 5.0
    # Another request might have cost a dollar more than there was left.
    assert summary.usd > 4.0
    assert summary.evaluations == summary.proposals == len(store.load_run(make_run(store)).evaluations)
    shares = [share for limit, share in warned(events) if limit == "usd"]
    assert shares == sorted(set(shares))
    assert shares[-1] == 1.0
    assert shares[0] < 1.0


def test_what_is_under_way_counts_as_spent(store: Store) -> None:
    pool = WorldPool(in_flight=8)
    most = 0.0
    spent = asked = 0.0

    class Watching(DearProposer):
        async def propose(self, request: ProposalRequest) -> Reply:
            nonlocal asked, spent, most
            asked += 1.0
            most = max(most, spent + asked)
            answer = await super().propose(request)
            asked -= 1.0
            spent += answer.usd
            return answer

    summary, _ = session(store, Limits(usd=3.0), Watching(*GENES), pool)
    assert most <= 3.0
    assert summary.usd == 3.0


def test_tokens_are_never_exceeded(store: Store) -> None:
    summary, events = session(store, Limits(tokens=2000), PricedProposer(*GENES))
    assert summary.state == "budget"
    assert 1000 < summary.prompt_tokens + summary.completion_tokens <= 2000
    assert warned(events)[-1] == ("tokens", 1.0)


def test_device_seconds_end_the_asking(store: Store) -> None:
    summary, events = session(store, Limits(device_seconds=20.0), ScriptProposer(*GENES), SlowPool())
    assert summary.state == "budget"
    # Before the first measurement nobody knows what one takes: the window may be full by then.
    assert 18.0 <= summary.device_seconds <= 20.0 + 2.0 * WorldPool().in_flight
    told = [event for event in events if isinstance(event, CandidateEvaluated)]
    assert sum(event.device_seconds for event in told) == summary.device_seconds
    assert warned(events)[-1] == ("device_seconds", 1.0)


class Mailbox(PricedProposer):
    """Keeps its requests, and has one answer."""

    keeps_requests = True

    async def propose(self, request: ProposalRequest) -> Reply | Unanswered:  # type: ignore[override]
        return await super().propose(request) if request.ordinal == 0 else Unanswered("here", "p", "")

    def quote(self, request: ProposalRequest) -> Quote:
        return NO_CHARGE


def test_prompts_that_wait_do_not_use_up_the_device(store: Store) -> None:
    settings = dataclasses.replace(
        config(9, limits=Limits(device_seconds=7.0), in_flight=4), stop_when_waiting=True
    )
    summary = run_session(store, settings, SlowPool(), Mailbox("ok:2:000"))
    assert (summary.state, summary.unanswered, summary.device_seconds) == ("waiting", 3, 2.0)


def test_the_end_of_a_budget_says_what_the_next_request_might_cost(store: Store) -> None:
    summary, events = session(store, Limits(usd=3.3), DearProposer(*GENES))
    assert summary.usd == 3.0
    last = [event for event in events if isinstance(event, BudgetWarning)][-1]
    assert last.reason == (
        "$3.00 of $3.3 dollars are used, and the next request may take up to $1.00: nothing more is asked for"
    )


def test_a_run_goes_on_with_what_a_larger_limit_leaves(store: Store) -> None:
    first, _ = session(store, Limits(usd=3.0), DearProposer(*GENES))
    again, _ = session(store, Limits(usd=3.0), DearProposer(*GENES))
    more, _ = session(store, Limits(usd=6.0), DearProposer(*GENES))
    assert (first.usd, again.usd, more.usd) == (3.0, 3.0, 6.0)
    assert more.evaluations == 6


def test_a_limit_below_one_request_is_refused_before_anything_is_asked(store: Store) -> None:
    proposer = PricedProposer(*GENES)
    with pytest.raises(UsageError, match=r"--usd 0.5 is less than one request may cost \(1\)"):
        session(store, Limits(usd=0.5), proposer)
    assert proposer.requests == []


@pytest.mark.parametrize("name", ["minutes", "device_seconds", "tokens", "usd"])
def test_limits_that_allow_nothing_are_refused(name: str) -> None:
    for value in (0, -1, float("nan"), float("inf")):
        changes: dict[str, Any] = {name: value}
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} is"):
            dataclasses.replace(NO_LIMITS, **changes)


def test_the_summary_says_what_the_money_bought(store: Store) -> None:
    summary, _ = session(store, Limits(), PricedProposer("ok:2:000", "prose", "check", "ok:3:110"), evals=4)
    by_kind = {account.name: account for account in summary.accounts if account.by == "kind"}
    assert by_kind["first"].passed == 1
    assert by_kind["reformat"].proposals == 1
    assert sum(account.usd for account in by_kind.values()) == summary.usd == 2.0


def test_what_is_set_aside_is_given_back_when_a_reply_is_cheaper() -> None:
    class Stopped:
        def monotonic(self) -> float:
            return 0.0

    ledger = Ledger(Limits(usd=1.0), Spend(), Stopped())  # type: ignore[arg-type]
    ledger.commit(0, Quote(10, 0.9))
    assert ledger.exhausted(Quote(10, 0.2)) is not None
    ledger.commit(0, Quote(10, 0.1))
    assert ledger.exhausted(Quote(10, 0.2)) is None
