"""What every engine promises. Each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kforge.data.records import ArchiveEvent, NewEvaluation
from kforge.data.store import DuplicateEvaluation, Store
from kforge.errors import StoreError, UsageError
from kforge.types import (
    BuildFacts,
    BuildFailed,
    CheckFailed,
    DeviceInfo,
    InfraFailed,
    KernelFacts,
    KernelResources,
    Measures,
    Outcome,
    ParseFailed,
    ScreenedOut,
    StageSeconds,
    Suspect,
    TimedOut,
    Unstable,
)
from tests.store.samples import ask, at, candidate, new_run, passed, reply, scored

HOSTILE = "a\0b \ud800 \U0001f600 '; drop table runs; --\r\n"
DEVICE = DeviceInfo(
    "sycl",
    "opencl:cpu",
    "CPU \u2122",
    "x86",
    "1",
    2,
    8192,
    1,
    1,
    1,
    1,
    1,
    16,
    1024,
    2**40,
    True,
    "opencl:cpu",
)
FIGURES: dict[str, Any] = {field.name: 2 for field in fields(KernelFacts)}
KERNEL = KernelFacts(**FIGURES | {"name": "k", "resources": KernelResources(32, 64, 8), "mix": None})
OUTCOMES: tuple[Outcome, ...] = (
    ParseFailed("no code"),
    ScreenedOut("grid of 0", "grid"),
    BuildFailed("error", "log"),
    CheckFailed("wrong", "mismatch", "default", 3, max_error=float("inf"), kb_correct=False),
    TimedOut("slow", "bench", 10.0),
    Unstable("noisy", 0.9),
    Suspect("too fast", "clock"),
    passed(1.5),
    InfraFailed("lost worker"),
)


def test_a_run_comes_back_as_created(store: Store) -> None:
    made = new_run(store)
    assert store.get_run("demo") == made
    assert made.config == {"evals": 8, "models": ["offline"]}
    assert (made.seed, made.state, made.summary, made.created_at) == (2**62 + 1, "running", None, at(0))


def test_times_of_any_zone_come_back_as_the_same_utc_moment(store: Store) -> None:
    local = at(0).astimezone(timezone(timedelta(hours=-7)))
    made = store.create_run(name="r", task_id="t", size="s", language="sycl", seed=1, config={}, now=local)
    assert made.created_at == local
    assert made.created_at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(Exception, match="no time zone"):
        store.create_run(
            name="r", task_id="t", size="s", language="sycl", seed=1, config={}, now=datetime(2030, 1, 1)
        )


def test_a_taken_name_is_refused_and_changes_nothing(store: Store) -> None:
    made = new_run(store)
    with pytest.raises(UsageError, match="exists already") as caught:
        new_run(store, seconds=5)
    assert caught.value.next_step == "kforge evolve --resume demo"
    assert store.get_run("demo") == made


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "a\n", "x" * 101, "a;b"])
def test_a_name_unfit_for_files_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="no run name"):
        new_run(store, name=name)
    assert store.list_runs() == []


def test_an_unknown_run_names_the_nearest(store: Store) -> None:
    new_run(store, "softmax-1")
    with pytest.raises(UsageError, match="nearest: softmax-1"):
        store.get_run("softmx-1")
    assert store.find_run("softmx-1") is None
    with pytest.raises(StoreError, match="no run 'nope'"):
        store.load_run("nope")


def test_state_and_summary_change(store: Store) -> None:
    made = new_run(store)
    store.set_run_state(made.id, "budget", {"best": 1.5}, at(9))
    now = store.get_run("demo")
    assert (now.state, now.summary, now.updated_at) == ("budget", {"best": 1.5}, at(9))


def test_a_state_outside_the_union_is_refused(store: Store) -> None:
    made = new_run(store)
    with pytest.raises(StoreError, match="not stored"):
        store.set_run_state(made.id, "lost", None, at(1))  # type: ignore[arg-type]
    assert store.get_run("demo").state == "running"


def test_a_proposal_is_there_before_its_reply(store: Store) -> None:
    run = new_run(store)
    proposal = store.begin_proposal(
        run.id,
        ordinal=3,
        kind="repair",
        prompt=HOSTILE,
        model="m\0",
        seed=5,
        now=at(1),
        parents=["a", "b"],
        inspirations=["c"],
    )
    (stored,) = store.load_run(run.id).proposals
    assert (stored.id, stored.ordinal, stored.attempt, stored.kind) == (proposal, 3, 0, "repair")
    assert (stored.parents, stored.inspirations, stored.prompt) == (("a", "b"), ("c",), HOSTILE)
    assert (stored.state, stored.reply, stored.ended_at) == ("requested", None, None)


def test_reply_and_candidate_arrive_together(store: Store) -> None:
    run = new_run(store)
    made = candidate(store, run, 0, source=HOSTILE)
    child = store.finish_proposal_with_candidate(
        ask(store, run, 1),
        reply(HOSTILE),
        source=None,
        now=at(2),
        parent_id=made,
        tune={"BLOCK": 64, "FAST": True},
    )
    records = store.load_run(run.id)
    first, second = records.candidates
    assert (first.id, first.source, first.ordinal, first.parent_id) == (made, HOSTILE, 0, None)
    assert (second.id, second.source, second.source_hash, second.parent_id) == (child, None, None, made)
    assert second.tune == {"BLOCK": 64, "FAST": True}
    assert [p.reply for p in records.proposals] == [reply(), reply(HOSTILE)]
    assert [p.id for p in records.proposals] == [c.proposal_id for c in records.candidates]


def test_a_failed_insert_leaves_the_proposal_open(store: Store) -> None:
    run = new_run(store)
    proposal = ask(store, run, 0)
    with pytest.raises(StoreError, match="not stored"):
        store.finish_proposal_with_candidate(proposal, reply(), source="x", now=at(1), parent_id="nobody")
    (stored,) = store.load_run(run.id).proposals
    assert (stored.state, stored.reply) == ("requested", None)


def test_equal_texts_are_kept_once_and_hash_as_their_bytes(store: Store) -> None:
    run = new_run(store)
    for ordinal in range(2):
        candidate(store, run, ordinal, source="abc")
    hashes = {c.source_hash for c in store.load_run(run.id).candidates}
    assert hashes == {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


def test_a_reply_is_taken_once(store: Store) -> None:
    run = new_run(store)
    proposal = ask(store, run, 0)
    store.finish_proposal(proposal, reply("first"), at(1))
    with pytest.raises(StoreError, match="is replied"):
        store.finish_proposal(proposal, reply("second"), at(2))
    (stored,) = store.load_run(run.id).proposals
    assert stored.reply == reply("first")
    with pytest.raises(StoreError, match="no proposal 'nope'"):
        store.finish_proposal("nope", reply(), at(2))


def test_an_abandoned_ordinal_is_asked_again(store: Store) -> None:
    run = new_run(store)
    candidate(store, run, 0)
    lost = ask(store, run, 1)
    with pytest.raises(StoreError, match="requested already"):
        ask(store, run, 1)
    assert store.abandon_open_proposals(run.id, at(8)) == 1
    assert store.abandon_open_proposals(run.id, at(9)) == 0
    with pytest.raises(StoreError, match="is abandoned"):
        store.finish_proposal(lost, reply(), at(9))
    candidate(store, run, 1)
    states = [(p.ordinal, p.attempt, p.state) for p in store.load_run(run.id).proposals]
    assert states == [(0, 0, "replied"), (1, 0, "abandoned"), (1, 1, "replied")]
    with pytest.raises(StoreError, match="replied already"):
        ask(store, run, 0)


def test_one_open_request_can_be_given_up(store: Store) -> None:
    run = new_run(store)
    lost, kept = ask(store, run, 0), ask(store, run, 1)
    assert store.abandon_proposal(lost, at(3))
    assert not store.abandon_proposal(lost, at(4))
    by_id = {p.id: p for p in store.load_run(run.id).proposals}
    assert (by_id[lost].state, by_id[lost].ended_at, by_id[kept].state) == ("abandoned", at(3), "requested")


def test_a_build_is_stored_once(store: Store) -> None:
    run = new_run(store)
    made = candidate(store, run, 0)
    facts, measures = BuildFacts((KERNEL,), 512), Measures(1, 2, 3)

    def record(log: str) -> bool:
        return store.record_build(
            made, key="k", ok=True, log=log, facts=facts, measures=measures, seconds=1.25, now=at(1)
        )

    assert record(HOSTILE)
    assert not record("again")
    (built,) = store.load_run(run.id).builds.values()
    assert (built.log, built.facts, built.measures, built.seconds) == (HOSTILE, facts, measures, 1.25)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: o.status)
def test_every_outcome_comes_back_equal(store: Store, outcome: Outcome) -> None:
    run = new_run(store)
    made = candidate(store, run, 0)
    seconds = StageSeconds(build=0.1, check=0.2, bench=0.3, total=0.6)
    value = NewEvaluation("k", outcome, 0.1 + 0.2, Measures(0, 0, 1), seconds, DEVICE)
    returned = store.record_evaluation(made, value, at(4))
    assert returned.value == value
    assert store.load_run(run.id).evaluations == (returned,)


def test_hostile_text_in_an_outcome_is_stored_readable(store: Store) -> None:
    made = candidate(store, new_run(store), 0)
    stored = store.record_evaluation(made, NewEvaluation("k", ParseFailed("a\0b\ud800")), at(1))
    assert stored.value.outcome == ParseFailed("a\0b?")


def test_evaluations_keep_the_order_of_telling(store: Store) -> None:
    run, other = new_run(store), new_run(store, "other")
    made = [candidate(store, run, ordinal) for ordinal in range(3)]
    elsewhere = candidate(store, other, 0)
    told = [made[2], made[0], elsewhere, made[1]]
    seqs = [store.record_evaluation(one, scored(1.0), at(1)).seq for one in told]
    assert seqs == [0, 1, 0, 2]
    assert [e.candidate_id for e in store.load_run(run.id).evaluations] == [made[2], made[0], made[1]]


def test_a_second_evaluation_changes_nothing(store: Store) -> None:
    run = new_run(store)
    made = candidate(store, run, 0)
    event = ArchiveEvent("new", "1/2/3", 0.5, 0.5)
    store.record_evaluation(made, scored(0.5), at(1), event)
    before = store.load_run(run.id)
    with pytest.raises(DuplicateEvaluation, match="evaluated already"):
        store.record_evaluation(made, scored(0.9), at(2), ArchiveEvent("improved", "0/0/0", 0.9, 0.4))
    assert store.load_run(run.id) == before
    (kept,) = before.archive_events
    assert (kept.seq, kept.candidate_id, kept.event) == (0, made, event)


def test_a_failed_archive_event_takes_its_evaluation_along(store: Store) -> None:
    run = new_run(store)
    made = candidate(store, run, 0)
    with pytest.raises(StoreError, match="not stored"):
        store.record_evaluation(made, scored(0.5), at(1), ArchiveEvent("odd", "1/2/3", 0.5, 0.5))  # type: ignore[arg-type]
    records = store.load_run(run.id)
    assert (records.evaluations, records.archive_events) == ((), ())


def test_unknown_candidates_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no candidate 'nope'"):
        store.record_evaluation("nope", scored(1.0), at(1))
    with pytest.raises(StoreError, match="no candidate 'nope'"):
        store.record_infra("nope", "lost", at(1))


def test_an_outcome_is_found_by_its_key(store: Store) -> None:
    first, second = new_run(store), new_run(store, "second")
    assert store.find_evaluation("k") is None
    store.record_evaluation(candidate(store, first, 0), NewEvaluation("k", InfraFailed("lost")), at(1))
    assert store.find_evaluation("k") is None
    old = store.record_evaluation(candidate(store, first, 1), scored(1.0, "k"), at(2))
    new = store.record_evaluation(candidate(store, second, 0), scored(2.0, "k"), at(3))
    repeat = NewEvaluation("k", old.value.outcome, 1.0, reused_from=old.id)
    store.record_evaluation(candidate(store, second, 1), repeat, at(4))
    assert store.find_evaluation("k") == new
    assert store.find_evaluation("K") is None


def test_infrastructure_failures_are_kept_apart(store: Store) -> None:
    run = new_run(store)
    made = candidate(store, run, 0)
    for second in (1, 2):
        store.record_infra(made, "worker \0 died", at(second))
    records = store.load_run(run.id)
    assert records.evaluations == ()
    assert [(e.candidate_id, e.reason, e.at) for e in records.infra_events] == [
        (made, "worker \ufffd died", at(1)),
        (made, "worker \ufffd died", at(2)),
    ]


def test_runs_are_listed_with_their_numbers(store: Store) -> None:
    busy, empty = new_run(store, "busy", 0), new_run(store, "empty", 1)
    made = [candidate(store, busy, ordinal) for ordinal in range(4)]
    for one, objective in zip(made[:3], (0.5, 1.5, 1.5), strict=True):
        store.record_evaluation(one, scored(objective), at(1))
    store.record_evaluation(made[3], NewEvaluation("k", ParseFailed("x")), at(1))
    nothing, much = store.list_runs()
    assert (nothing.run, nothing.proposals, nothing.evaluations, nothing.best_objective) == (
        empty,
        0,
        0,
        None,
    )
    assert (much.run, much.proposals, much.evaluations, much.passed, much.usd) == (busy, 4, 4, 3, 1.0)
    assert (much.best_objective, much.best_candidate_id) == (1.5, made[1])


def test_everything_survives_reopening(url: str) -> None:
    with Store.open(url) as store:
        run = new_run(store)
        store.record_evaluation(
            candidate(store, run, 0), scored(0.5), at(1), ArchiveEvent("new", "0", 0.5, 0.5)
        )
        before = store.load_run(run.id)
    with Store.open(url, create=False) as again:
        assert again.load_run(run.id) == before
