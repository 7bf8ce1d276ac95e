"""Tables of a stored run: every candidate is there, with its reason or its figures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.campaign_table import best_source, bounds_of, tables
from tests.evolve.world import WorldPool, WorldProposer, config, make_run, open_store, run_session


def test_every_candidate_of_a_run_has_a_row(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        run_id = make_run(store)
        run_session(store, config(12), WorldPool(), WorldProposer(), run_id=run_id)
        records = store.load_run(run_id)
    table = tables(records, 1.0)
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(records.evaluations)
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
    statuses = {e.value.outcome.status for e in records.evaluations}
    assert all(status in table for status in statuses - {"passed"})
    assert best_source(records) in {c.source for c in records.candidates}


def test_bounds_are_read_by_task(tmp_path: Path) -> None:
    path = tmp_path / "bounds.jsonl"
    path.write_text('{"bw": 3e12}\n{"level": 1, "id": 40, "bound_us": 189.7}\n')
    assert bounds_of(path) == {"kb/L1/40": 189.7}
    assert bounds_of(None) == {}
