"""Telling one outcome: the archive takes its entry, evaluation and archive event become rows."""

from __future__ import annotations

from kforge.data.records import ArchiveEvent, NewEvaluation
from kforge.search.archive import AddResult, Entry
from kforge.search.context import RunContext
from kforge.search.events import CandidateEvaluated, EliteChanged
from kforge.search.flow import Finished
from kforge.search.resume import Told
from kforge.search.state import Judged, SearchState, entry_of
from kforge.search.summary import on_device_s


def tell(run: RunContext, search: SearchState, finished: Finished) -> None:
    """Tell an outcome for the first time.

    Raises:
        StoreError: it could not be stored.
    """
    candidate = finished.candidate
    first = search.first_with(finished.key)
    entry = None if first else entry_of(candidate.id, finished.outcome, finished.measures)
    best_before = search.archive.best()
    added = None if entry is None else search.archive.add(entry)
    reused_from = first.evaluation_id if first else finished.reused_from
    stored = run.store.record_evaluation(
        candidate.id,
        NewEvaluation(
            key=finished.key,
            outcome=finished.outcome,
            objective=None if entry is None else entry.objective,
            measures=finished.measures,
            seconds=finished.seconds,
            device=run.device,
            reused_from=reused_from,
        ),
        run.clock.now(),
        None if entry is None or added is None else _archive_event(entry, added),
    )
    duplicate = first is not None
    entered = added is not None and added.status != "rejected"
    search.tell(
        Judged(candidate, stored.id, finished.key, finished.outcome, finished.measures, duplicate),
        entered=entered,
    )
    run.on_event(
        CandidateEvaluated(
            candidate.ordinal,
            candidate.id,
            finished.outcome,
            duplicate=duplicate,
            reused=reused_from is not None,
            evaluations=search.evaluations,
            evals_budget=run.config.evals,
            device_seconds=0.0 if reused_from is not None else on_device_s(finished.seconds),
        )
    )
    if entry is not None and added is not None and entered:
        best = best_before is None or entry.objective > best_before.objective
        run.on_event(
            EliteChanged(
                candidate.ordinal,
                candidate.id,
                added.status,
                entry.measures,
                entry.objective,
                added.improvement,
                best,
            )
        )


def tell_again(search: SearchState, told: Told) -> None:
    """Repeat a stored tell; what the archive did then it does again."""
    value, candidate = told.evaluation.value, told.candidate
    duplicate = search.first_with(value.key) is not None
    entry = None if duplicate else entry_of(candidate.id, value.outcome, value.measures)
    added = None if entry is None else search.archive.add(entry)
    search.tell(
        Judged(candidate, told.evaluation.id, value.key, value.outcome, value.measures, duplicate),
        entered=added is not None and added.status != "rejected",
    )


def _archive_event(entry: Entry, added: AddResult) -> ArchiveEvent:
    cell = "/".join(str(level) for level in entry.measures.cell)
    return ArchiveEvent(added.status, cell, entry.objective, added.improvement)
