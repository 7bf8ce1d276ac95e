"""kill -9 at any moment: every candidate is evaluated exactly once, and nothing else changes."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kforge.data.records import RunRecords
from kforge.search.archive import Archive, Entry
from kforge.search.state import entry_of
from tests.evolve.killable import EVALS, drive
from tests.evolve.world import make_run, open_store

KILLS = 20


def _start_and_kill(directory: Path, deterministic: bool, rng: random.Random) -> None:
    """Start the run, let a random number of events and a random time pass, kill it."""
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_drive, args=(directory, deterministic, writer))
    child.start()
    writer.close()
    with reader:
        for _ in range(rng.randrange(0, 9)):
            os.read(reader.fileno(), 1)
        time.sleep(rng.random() * 0.02)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert child.exitcode == -signal.SIGKILL
    child.close()


def _drive(directory: Path, deterministic: bool, progress: Connection) -> None:
    drive(directory, deterministic, progress.fileno())


def _records(directory: Path) -> RunRecords:
    with open_store(directory) as store:
        return store.load_run(make_run(store))


def _search_of(records: RunRecords) -> dict[str, object]:
    """The run without ids and times: what was asked, answered, judged and kept."""
    ordinals = {c.id: c.ordinal for c in records.candidates}
    answered = [p for p in records.proposals if p.state == "replied"]
    entries = [
        Entry(e.candidate_id, e.value.objective, e.value.measures)
        for e in records.evaluations
        if e.value.objective is not None and e.value.measures is not None
    ]
    elites = Archive.rebuild(entries).elites()
    return {
        "prompts": {p.ordinal: p.prompt for p in answered},
        "kinds": {p.ordinal: (p.kind, [ordinals[i] for i in p.parents + p.inspirations]) for p in answered},
        "sources": {c.ordinal: c.source for c in records.candidates},
        "outcomes": {ordinals[e.candidate_id]: e.value.outcome for e in records.evaluations},
        "reused": {ordinals[e.candidate_id]: e.value.reused_from is not None for e in records.evaluations},
        "told": [ordinals[e.candidate_id] for e in records.evaluations],
        "events": [(ordinals[e.candidate_id], e.event) for e in records.archive_events],
        "archive": [(ordinals[e.candidate_id], e.measures.cell, e.objective) for e in elites],
    }


@pytest.mark.parametrize(("deterministic", "kills"), [(True, KILLS), (False, 5)])
def test_a_run_killed_at_random_moments_ends_as_if_undisturbed(
    tmp_path: Path, deterministic: bool, kills: int
) -> None:
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.evolve.killable"])
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    killed.mkdir()
    calm.mkdir()
    rng = random.Random(20_26)
    for _ in range(kills):
        _start_and_kill(killed, deterministic, rng)
    drive(killed, deterministic, None)
    records = _records(killed)
    assert records.run.state == "finished"
    assert Counter(e.candidate_id for e in records.evaluations) == {c.id: 1 for c in records.candidates}
    assert sum(p.state == "abandoned" for p in records.proposals) > 0, "no kill hit a request in flight"
    assert all(p.state != "requested" for p in records.proposals)
    assert sum(e.value.reused_from is None for e in records.evaluations) == EVALS
    if deterministic:
        drive(calm, deterministic, None)
        disturbed, undisturbed = _search_of(records), _search_of(_records(calm))
        assert disturbed["told"] == sorted(c.ordinal for c in records.candidates)
        for what, expected in undisturbed.items():
            assert disturbed[what] == expected, what


def test_archive_events_agree_with_the_evaluations(tmp_path: Path) -> None:
    drive(tmp_path, False, None)
    records = _records(tmp_path)
    told = {e.candidate_id: e.value for e in records.evaluations}
    archive = Archive()
    for stored in records.archive_events:
        value = told[stored.candidate_id]
        entry = entry_of(stored.candidate_id, value.outcome, value.measures)
        assert entry is not None
        assert archive.add(entry).status == stored.event.status
    assert len(archive.elites()) > 3
