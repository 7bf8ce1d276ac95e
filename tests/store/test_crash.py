"""What was acknowledged is there: after kill -9 at random moments, and after a failed write."""

from __future__ import annotations

import random
import time
from pathlib import Path

from kforge.data.records import RunRecords
from kforge.data.store import Store
from tests.store.children import received, start, write_for_ever, write_on_a_full_disk

KILLS = 20


def stored_ids(records: RunRecords) -> set[tuple[str, str]]:
    return (
        {("proposal", p.id) for p in records.proposals}
        | {("candidate", c.id) for c in records.candidates}
        | {("evaluation", e.id) for e in records.evaluations}
    )


def assert_whole(records: RunRecords) -> None:
    """No transaction is there by half."""
    answered = [p.id for p in records.proposals if p.state == "replied"]
    assert answered == [c.proposal_id for c in records.candidates]
    assert [c.ordinal for c in records.candidates] == list(range(len(records.candidates)))
    assert [c.source for c in records.candidates] == [f"source {c.ordinal}" for c in records.candidates]
    assert [e.seq for e in records.evaluations] == list(range(len(records.evaluations)))
    assert [e.candidate_id for e in records.archive_events] == [e.candidate_id for e in records.evaluations]
    assert len({e.candidate_id for e in records.evaluations}) == len(records.evaluations)


def test_kill_9_loses_nothing_acknowledged(url: str) -> None:
    moments = random.Random(9)
    acknowledged: set[tuple[str, str]] = set()
    for kill in range(KILLS):
        child, pipe = start(write_for_ever, url, "demo")
        first = pipe.recv()
        time.sleep(moments.uniform(0, 0.1))
        child.kill()
        acknowledged |= {first, *received(pipe)}
        child.join()
        with Store.open(url, create=False) as store:
            records = store.load_run(store.get_run("demo").id)
        assert acknowledged <= stored_ids(records), f"kill {kill} lost rows"
        assert_whole(records)
    assert len(acknowledged) > KILLS


def test_a_failed_write_is_a_store_error_and_earlier_rows_stay(tmp_path: Path) -> None:
    url = str(tmp_path / "store.sqlite")
    child, pipe = start(write_on_a_full_disk, url, 600_000)
    *acknowledged, (kind, (name, message, next_step)) = received(pipe)
    child.join()
    assert (kind, name) == ("error", "StoreError")
    assert "Every row acknowledged before is safe" in message
    assert "disk" in message
    assert next_step.endswith("then kforge evolve --resume full")
    assert len(acknowledged) > 10
    with Store.open(url, create=False) as store:
        records = store.load_run(store.get_run("full").id)
    assert set(acknowledged) <= stored_ids(records)
    assert_whole(records)
