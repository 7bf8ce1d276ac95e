"""The loop on PostgreSQL: stopped, resumed, and the same archive as on SQLite."""

from __future__ import annotations

from pathlib import Path

from kforge.data.store import Store
from kforge.search.events import CandidateEvaluated, Event
from kforge.search.stop import StopSignal
from kforge.search.summary import RunSummary
from tests.evolve.world import WorldPool, WorldProposer, config, make_run, open_store, run_session

EVALS = 30


def _session(store: Store, stop_after: int | None) -> RunSummary:
    stop = StopSignal()

    def watch(event: Event) -> None:
        if isinstance(event, CandidateEvaluated) and event.ordinal == stop_after:
            stop.request()
            stop.request()

    return run_session(
        store, config(EVALS, in_flight=2, deterministic=True), WorldPool(), WorldProposer(genes=300),
        on_event=watch, stop=stop,
    )  # fmt: skip


def _cells(summary: RunSummary) -> dict[tuple[int, int, int], tuple[int, float]]:
    return {e.measures.cell: (e.ordinal, e.objective) for e in summary.elites}


def test_a_stopped_run_on_postgresql_ends_as_an_undisturbed_one_on_sqlite(
    postgres_url: str, tmp_path: Path
) -> None:
    with open_store(tmp_path) as undisturbed:
        expected = _session(undisturbed, None)
    with Store.open(postgres_url) as store:
        assert _session(store, 11).state == "interrupted"
    with Store.open(postgres_url) as store:
        resumed = _session(store, None)
        records = store.load_run(make_run(store))
    assert resumed.state == "finished"
    assert _cells(resumed) == _cells(expected) != {}
    told = [e.candidate_id for e in records.evaluations]
    assert len(told) == len(set(told)) == len(records.candidates)
