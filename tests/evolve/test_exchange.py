"""Runs whose model is whoever writes files into a directory."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kforge.clock import SystemClock
from kforge.data.store import Store
from kforge.errors import InfraError
from kforge.eval.candidate import parse_candidate
from kforge.search.events import AnswerAwaited, CandidateEvaluated, Event, ProposalSent
from kforge.search.retell import summary_of
from kforge.search.stop import StopSignal
from tests.evolve.exchange_world import (
    answer,
    claimed,
    document,
    fenced,
    prompts,
    put,
    search_of,
    session,
    unanswered,
)
from tests.evolve.world import WorldPool, make_run, open_store


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    return tmp_path / "mail"


def answer_by_rule(directory: Path) -> int:
    """Answer every open prompt by a pure function of its text; return how many that were."""
    open_ids = unanswered(directory)
    for prompt_id in open_ids:
        user = document(directory, f"{prompt_id}.prompt.json")["messages"][-1]["content"]
        gene = int(hashlib.sha256(f"{prompt_id[3:7]}{user}".encode()).hexdigest(), 16) % 500
        answer(directory, prompt_id, str(gene))
    return len(open_ids)


def finish(store: Store, directory: Path, evals: int, pool: WorldPool | None = None) -> int:
    """Rounds until the run is finished; return how many sessions that took."""
    for sessions in range(1, 100):
        if session(store, directory, evals, in_flight=3, pool=pool).state == "finished":
            return sessions
        assert answer_by_rule(directory) > 0
    raise AssertionError("the run does not end")


def test_a_run_goes_in_rounds(store: Store, mail: Path) -> None:
    pool = WorldPool()
    first = session(store, mail, 5, pool=pool)
    assert (first.state, first.unanswered, first.abandoned, first.evaluations) == ("waiting", 2, 0, 0)
    assert store.load_run(make_run(store)).run.state == "waiting"
    one, two = prompts(mail)
    kept = {name: (mail / f"{name}.prompt.json").read_bytes() for name in (one, two)}
    prompt = document(mail, f"{one}.prompt.json")
    assert sorted(prompt) == ["answer_schema", "expires_at", "id", "messages"]
    assert (prompt["id"], [m["role"] for m in prompt["messages"]]) == (one, ["system", "user"])
    assert datetime.fromisoformat(prompt["expires_at"]) > SystemClock().now()
    assert sorted(path.name for path in mail.iterdir()) == [f"{one}.prompt.json", f"{two}.prompt.json"]

    nobody_answered = session(store, mail, 5, pool=pool)
    assert (nobody_answered.state, nobody_answered.proposals) == ("waiting", 2)
    answer(mail, two, "ok:2:111")
    half = session(store, mail, 5, pool=pool)
    assert (half.state, half.evaluations, half.unanswered) == ("waiting", 1, 2)
    assert {name: (mail / f"{name}.prompt.json").read_bytes() for name in kept} == kept
    answer(mail, one, "ok:3:222")
    answer(mail, prompts(mail)[2], "check")
    assert session(store, mail, 5, pool=pool).unanswered == 2
    for prompt_id in unanswered(mail):
        answer(mail, prompt_id, f"ok:4:3{int(prompt_id[6]) - 3}0")
    last = session(store, mail, 5, pool=pool)
    assert (last.state, last.evaluations, last.proposals, last.unanswered) == ("finished", 5, 5, 0)
    assert last.best is not None
    assert last.best.outcome.speedup == 4.0
    assert max(pool.measured.values()) == 1
    records = store.load_run(make_run(store))
    assert [(p.ordinal, p.attempt, p.state) for p in records.proposals] == [
        (n, 0, "replied") for n in range(5)
    ]


def test_the_next_prompts_show_everything_that_was_told(store: Store, mail: Path) -> None:
    session(store, mail, 8, in_flight=3)
    for n, prompt_id in enumerate(prompts(mail)):
        answer(mail, prompt_id, f"ok:{n + 1}:{n}00")
    session(store, mail, 8, in_flight=3)
    records = store.load_run(make_run(store))
    later = [p for p in records.proposals if p.ordinal >= 3]
    assert len(later) == 3
    for proposal in later:
        assert len(proposal.parents + proposal.inspirations) == 3


def test_same_seed_and_replies_make_the_same_decisions_whatever_finishes_first(tmp_path: Path) -> None:
    found = []
    for name, delay in (("a", 0.0), ("b", 0.02)):
        (tmp_path / name).mkdir()
        with open_store(tmp_path / name) as store:
            pool = WorldPool(3, delay_s=lambda gene, d=delay: d * (3 - int(gene) % 3))  # type: ignore[misc]
            sessions = finish(store, tmp_path / name / "mail", 14, pool)
            found.append(search_of(store.load_run(make_run(store))))
        assert sessions >= 5
    assert found[0] == found[1]


def test_a_run_goes_on_where_store_and_directory_were_carried_to(tmp_path: Path) -> None:
    box, home = tmp_path / "box", tmp_path / "home"
    box.mkdir()
    with open_store(box) as store:
        session(store, box / "mail", 4)
    box.rename(home)
    asked = prompts(home / "mail")
    for prompt_id in asked:
        answer(home / "mail", prompt_id, f"ok:2:{prompt_id[6]}00")
    with open_store(home) as store:
        summary = session(store, home / "mail", 4)
        assert (summary.evaluations, summary.proposals) == (2, 4)
    assert prompts(home / "mail")[:2] == asked
    assert not box.exists()


def test_lost_prompts_are_written_again_under_their_ids(store: Store, mail: Path) -> None:
    session(store, mail, 2)
    asked = {name: document(mail, f"{name}.prompt.json")["messages"] for name in prompts(mail)}
    shutil.rmtree(mail)
    events: list[Event] = []
    assert session(store, mail, 2, on_event=events.append).proposals == 2
    assert {name: document(mail, f"{name}.prompt.json")["messages"] for name in prompts(mail)} == asked
    assert not [e for e in events if isinstance(e, ProposalSent)]
    assert [e.prompt for e in events if isinstance(e, AnswerAwaited)] == [
        f"{name}.prompt.json" for name in asked
    ]


def test_runs_share_a_directory(store: Store, mail: Path) -> None:
    session(store, mail, 1)
    session(store, mail, 1, name="r2")
    assert len(prompts(mail)) == 2
    for prompt_id in prompts(mail):
        answer(mail, prompt_id, f"ok:2:{prompt_id[1]}00")
    assert session(store, mail, 1).evaluations == 1
    assert session(store, mail, 1, name="r2").evaluations == 1
    assert len(prompts(mail)) == 2


def test_who_answered_and_what_it_cost_is_stored(store: Store, mail: Path) -> None:
    session(store, mail, 2)
    one, two = prompts(mail)
    thoughts = "First… \n\n  then `this`.\n"
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "usd": 0.25}
    answer(mail, one, "ok:2:000", model="agent-9", reasoning=thoughts, usage=usage)
    put(mail, f"{two}.answer.md", "I thought of\n\n" + fenced("ok:3:000"))
    summary = session(store, mail, 2)
    assert (summary.proposer, summary.models, summary.offline) == ("exchange", ("agent-9",), False)
    assert (summary.prompt_tokens, summary.completion_tokens, summary.usd) == (11, 7, 0.25)
    records = store.load_run(make_run(store))
    assert [p.model for p in records.proposals] == ["exchange: agent-9", "exchange"]
    first, second = (p.reply for p in records.proposals)
    assert first is not None
    assert second is not None
    assert (first.reasoning, second.reasoning) == (thoughts, "")
    assert second.text.startswith("I thought of")
    retold = summary_of(records, parse_candidate)
    assert (retold.proposer, retold.models, retold.offline) == ("exchange", ("agent-9",), False)
    assert (retold.unanswered, retold.abandoned) == (0, 0)


def test_a_late_answer_is_evaluated(store: Store, mail: Path) -> None:
    session(store, mail, 1, lifetime=timedelta(hours=-1))
    (prompt_id,) = prompts(mail)
    assert (
        datetime.fromisoformat(document(mail, f"{prompt_id}.prompt.json")["expires_at"]) < SystemClock().now()
    )
    answer(mail, prompt_id, "ok:2:000")
    assert session(store, mail, 1).statuses == {"passed": 1}


def test_an_answer_to_nobody_is_left_alone(store: Store, mail: Path) -> None:
    session(store, mail, 1)
    answer(mail, "r1-0007-abcabcabcabc", "ok:2:000")
    put(mail, "notes.txt", "mine")
    before = sorted(path.name for path in mail.iterdir())
    assert session(store, mail, 1).evaluations == 0
    assert sorted(path.name for path in mail.iterdir()) == before


def answering(mail: Path, work: Callable[[str], None]) -> threading.Thread:
    """Somebody who answers every prompt that appears, until a prompt ``stop`` does."""

    def serve() -> None:
        done: set[str] = set()
        while not (mail / "stop").exists():
            for prompt_id in prompts(mail):
                if prompt_id not in done:
                    done.add(prompt_id)
                    work(prompt_id)
            time.sleep(0.005)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_without_the_flag_the_session_waits_for_its_answers(store: Store, mail: Path) -> None:
    mail.mkdir()
    served = answering(mail, lambda prompt_id: answer(mail, prompt_id, f"ok:2:{int(prompt_id[3:7]) % 4}00"))
    try:
        summary = session(store, mail, 4, rounds=False)
    finally:
        put(mail, "stop", "")
        served.join()
    assert (summary.state, summary.unanswered, summary.abandoned) == ("finished", 0, 0)


def test_two_answerers_with_claims_answer_each_prompt_once(store: Store, mail: Path) -> None:
    mail.mkdir()
    taken: list[str] = []

    def work(prompt_id: str) -> None:
        if claimed(mail, prompt_id):
            taken.append(prompt_id)
            answer(mail, prompt_id, str(int(prompt_id[3:7]) * 7 % 60))

    servers = [answering(mail, work) for _ in range(2)]
    try:
        summary = session(store, mail, 12, in_flight=4, rounds=False)
    finally:
        put(mail, "stop", "")
        for server in servers:
            server.join()
    assert summary.state == "finished"
    assert sorted(taken) == prompts(mail)
    assert not list(mail.glob("*.rejected.json"))


def test_a_stop_does_not_wait_for_a_person(store: Store, mail: Path) -> None:
    stop = StopSignal()

    def watch(event: Event) -> None:
        if isinstance(event, AnswerAwaited) and event.ordinal == 1:
            stop.request()

    summary = session(store, mail, 3, rounds=False, on_event=watch, stop=stop)
    assert (summary.state, summary.unanswered, summary.abandoned) == ("interrupted", 2, 0)
    for prompt_id in prompts(mail):
        answer(mail, prompt_id, f"ok:2:{prompt_id[6]}00")
    assert session(store, mail, 3).evaluations == 2


def test_a_second_stop_keeps_what_was_asked(store: Store, mail: Path) -> None:
    session(store, mail, 2)
    for prompt_id in prompts(mail):
        answer(mail, prompt_id, f"ok:2:{prompt_id[6]}00")
    stop = StopSignal()

    def watch(event: Event) -> None:
        if isinstance(event, CandidateEvaluated):
            stop.request()
            stop.request()

    slow = WorldPool(delay_s=lambda gene: 0.05 if gene.endswith("100") else 0.0)
    assert session(store, mail, 2, on_event=watch, stop=stop, pool=slow).state == "interrupted"
    assert (session(store, mail, 2).state, len(prompts(mail))) == ("finished", 2)
    records = store.load_run(make_run(store))
    assert [p.state for p in records.proposals] == ["replied", "replied"]


def _wait_in(directory: Path, rounds: bool, progress: Connection) -> None:
    with open_store(directory) as store:
        session(
            store, directory / "mail", 9, in_flight=3, rounds=rounds,
            on_event=lambda event: progress.send(type(event).__name__),
        )  # fmt: skip


def _killed_after(directory: Path, rounds: bool, event: str, count: int) -> None:
    """Run a session in a process of its own and kill it at the ``count``-th event of a kind."""
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_wait_in, args=(directory, rounds, writer))
    child.start()
    writer.close()
    with reader:
        while count:
            count -= reader.recv() == event
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    child.close()


@pytest.mark.parametrize("rounds", [False, True])
def test_kill_9_while_prompts_are_out(tmp_path: Path, rounds: bool) -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.evolve.killable"])
    mail = tmp_path / "mail"
    _killed_after(tmp_path, rounds, "ProposalSent", 2)
    _killed_after(tmp_path, rounds, "AnswerAwaited", 3)
    asked = prompts(mail)
    assert len(asked) == 3
    for prompt_id in asked:
        answer(mail, prompt_id, f"ok:2:{prompt_id[6]}00")
    _killed_after(tmp_path, rounds, "ReplyReceived", 2)
    _killed_after(tmp_path, rounds, "CandidateEvaluated", 1)
    with open_store(tmp_path) as store:
        sessions = finish(store, mail, 9)
        records = store.load_run(make_run(store))
    assert sessions > 1
    assert prompts(mail)[:3] == asked
    assert [(p.ordinal, p.attempt, p.state) for p in records.proposals] == [(n, 0, "replied") for n in range(len(records.proposals))]  # fmt: skip  # noqa: E501
    assert (
        len({e.candidate_id for e in records.evaluations}) == len(records.evaluations) == len(prompts(mail))
    )


def test_a_directory_that_goes_away_ends_the_session_and_nothing_is_lost(store: Store, mail: Path) -> None:
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, AnswerAwaited) and event.ordinal == 1:
            mail.rename(mail.with_name("elsewhere"))

    with pytest.raises(InfraError, match="No such file") as caught:
        session(store, mail, 3, rounds=False, on_event=watch)
    assert str(mail) in caught.value.message
    assert "kforge evolve --resume r1" in caught.value.next_step
    records = store.load_run(make_run(store))
    assert (records.run.state, [p.state for p in records.proposals]) == ("interrupted", ["requested"] * 2)
    moved = mail.with_name("elsewhere")
    for prompt_id in prompts(moved):
        answer(moved, prompt_id, f"ok:2:{prompt_id[6]}00")
    assert session(store, moved, 3).evaluations == 2
