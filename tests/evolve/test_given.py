"""A search that starts from the user's own kernels, and the one turn after a reply without a kernel."""

from __future__ import annotations

import pytest

from kforge.data.store import Store
from kforge.errors import UsageError
from kforge.eval.candidate import parse_candidate
from kforge.search.context import Given
from kforge.search.proposer import ProposalRequest, Reply
from kforge.types import CandidateSource
from tests.evolve.world import (
    ScriptProposer,
    WorldPool,
    candidate_text,
    config,
    make_run,
    reply,
    run_session,
)

MINE = (Given("fast.py", candidate_text("ok:3:110")), Given("slow.py", candidate_text("ok:1:000")))


def test_own_kernels_are_evaluated_first_and_nobody_is_paid_for_them(store: Store) -> None:
    proposer = ScriptProposer(*["ok:4:222"] * 9)
    summary = run_session(store, config(3, given=MINE, in_flight=1), WorldPool(), proposer)
    records = store.load_run(make_run(store))
    assert [(p.kind, p.model) for p in records.proposals] == [
        ("given", "file: fast.py"),
        ("given", "file: slow.py"),
        ("improve", "script"),
    ]
    assert [request.ordinal for request in proposer.requests] == [2]
    assert "// gene ok:" in proposer.requests[0].messages[-1].content
    assert [c.source for c in records.candidates][:2] == [given.text for given in MINE]
    assert summary.usd == 0.5
    assert summary.models == ()
    assert {e.speedup for e in summary.elites} == {1.0, 3.0, 4.0}


def test_nobody_is_asked_before_own_kernels_are_told(store: Store) -> None:
    proposer = ScriptProposer(*["ok:4:222"] * 9)
    run_session(store, config(6, given=MINE, in_flight=4), WorldPool(), proposer)
    first = proposer.requests[0].messages[-1].content
    assert "// gene ok:3:110" in first or "// gene ok:1:000" in first, (
        "a prompt shows what is there to improve"
    )


def test_fewer_evaluations_than_own_kernels_are_refused() -> None:
    with pytest.raises(UsageError, match="--evals 1 is fewer than the 2 files of --from"):
        config(1, given=MINE)


def test_a_run_of_own_kernels_only_asks_nobody(store: Store) -> None:
    proposer = ScriptProposer("ok:4:222")
    summary = run_session(store, config(2, given=MINE), WorldPool(), proposer)
    assert summary.state == "finished"
    assert proposer.requests == []


def test_a_resumed_run_does_not_evaluate_own_kernels_again(store: Store) -> None:
    pool = WorldPool()
    run_session(store, config(2, given=MINE), pool, ScriptProposer("ok:4:222"))
    run_session(store, config(3, given=MINE), pool, ScriptProposer("ok:4:222"))
    assert pool.built == {"ok:3:110": 1, "ok:1:000": 1, "ok:4:222": 1}


RAMBLING = "The gene is ok:2:000, of course; I would write it in one pass."


class Rambling(ScriptProposer):
    """Answers the first request with prose, and the second with the kernel that it meant."""

    async def propose(self, request: ProposalRequest) -> Reply:
        self.requests.append(request)
        if request.ordinal == 0:
            return reply(RAMBLING)
        return reply(f"```python\n{candidate_text(f'ok:{1 + request.ordinal}:000')}```")


def test_a_reply_without_a_kernel_is_asked_for_again_once(store: Store) -> None:
    proposer = Rambling()
    summary = run_session(store, config(3, in_flight=1), WorldPool(), proposer)
    records = store.load_run(make_run(store))
    assert [p.kind for p in records.proposals] == ["first", "reformat", "improve"]
    first, second = (request.messages for request in proposer.requests[:2])
    assert second[:2] == first, "the conversation goes on, and a server may have its beginning cached"
    assert (second[2].role, second[2].content) == ("assistant", RAMBLING)
    assert "no fenced code block" in second[3].content
    assert records.candidates[1].parent_id == records.candidates[0].id
    assert summary.statuses == {"parse_failed": 1, "passed": 2}
    assert summary.usd == 1.5, "a reply without a kernel costs money too"


def test_it_is_not_asked_for_a_third_time(store: Store) -> None:
    summary = run_session(store, config(4, in_flight=1), WorldPool(), ScriptProposer("prose"))
    kinds = [p.kind for p in store.load_run(make_run(store)).proposals]
    assert kinds == ["first", "reformat", "first", "reformat"]
    assert summary.statuses == {"parse_failed": 4}


def test_a_resumed_run_asks_again_for_what_it_could_not_read(store: Store) -> None:
    run_session(store, config(1, in_flight=1), WorldPool(), Rambling())
    proposer = Rambling()
    run_session(store, config(2, in_flight=1), WorldPool(), proposer)
    assert proposer.requests[0].messages[2].content == RAMBLING


def test_the_texts_above_are_candidates() -> None:
    assert all(isinstance(parse_candidate(given.text), CandidateSource) for given in MINE)
