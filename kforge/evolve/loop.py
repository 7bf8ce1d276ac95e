"""The search loop: steady state, no generations, every result told at once.

The rule that makes a run resumable: the proposal of ordinal n is decided right after a told candidate
has made room for it, from what was told until then. Restoring a run repeats the stored tells in their
stored order with the same rule, so decisions that a kill cut off are taken from the state in which the
undisturbed run would have taken them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from kforge.clock import Clock
from kforge.codec import to_dict
from kforge.data.lease import LEASE_S, Lease
from kforge.data.records import ArchiveEvent, NewEvaluation
from kforge.errors import InfraError, KforgeError, StoreError
from kforge.evolve.archive import AddResult, Archive, Entry
from kforge.evolve.context import LoopConfig, RunContext
from kforge.evolve.events import (
    BudgetWarning,
    CandidateEvaluated,
    EliteChanged,
    Event,
    RunEnded,
    RunStarted,
    RunState,
    StopRequested,
)
from kforge.evolve.flow import Finished, Flow
from kforge.evolve.parse import ParseCandidate
from kforge.evolve.pool import Pool
from kforge.evolve.prompts import parts_of, render_prompt
from kforge.evolve.proposer import Proposer, require_support
from kforge.evolve.resume import History, history_of
from kforge.evolve.selection import decide
from kforge.evolve.state import Judged, SearchState, entry_of
from kforge.evolve.stop import StopSignal
from kforge.evolve.summary import RunSummary, Spend, summarise
from kforge.types import DeviceInfo, TaskDescription

if TYPE_CHECKING:
    from kforge.data.store import Store

MINUTES_WARNING_SHARE = 0.8
RENEW_S = LEASE_S / 3


async def evolve(
    config: LoopConfig,
    *,
    task: TaskDescription,
    device: DeviceInfo,
    pool: Pool,
    proposer: Proposer,
    store: Store,
    run_id: str,
    clock: Clock,
    parse_candidate: ParseCandidate,
    on_event: Callable[[Event], None],
    stop: StopSignal,
    lease: Lease | None = None,
) -> RunSummary:
    """Run one session of a search: from the start, or on from what the store holds of ``run_id``.

    Args:
        config: budgets and seed; give a resumed run the ones it began with.
        task: what to write kernels for.
        device: the device that the pool measures on.
        pool: builds and measures; the caller closes it.
        proposer: writes candidates.
        store: where every step is a row before it counts.
        run_id: a run of ``store``.
        clock: time, for rows and the minutes limit.
        parse_candidate: reads one candidate file.
        on_event: told of every step after it is stored; must return at once.
        stop: the first request drains what is in flight, the second cancels it.
        lease: the caller's right to drive the run, renewed here while the loop runs.

    Returns:
        The summary, stored with the run's state: ``finished`` when the evaluations are made, ``budget``
        when another limit came first, ``interrupted`` after a stop.

    Raises:
        UsageError: the proposer cannot write for this task.
        InfraError: proposer or pool failed again and again. The run can be resumed.
        StoreError: the store failed. What was acknowledged is stored; the run can be resumed.
    """
    require_support(proposer, task)
    records = store.load_run(run_id)
    history = history_of(records, parse_candidate)
    spend = history.spend

    def emit(event: Event) -> None:
        spend.note(event)
        on_event(event)

    run = RunContext(
        config, task, device, pool, proposer, store, run_id, records.run.name, clock, parse_candidate, emit
    )
    return await _Session(run, spend, stop, lease).run_to_end(history)


class _Session:
    """The mutable middle of one session; lives for one call of ``evolve``.

    ``_tasks`` run candidates, ``_ready`` holds outcomes that wait for their turn, ``_untold`` the
    ordinals that were decided and are not told.
    """

    def __init__(self, run: RunContext, spend: Spend, stop: StopSignal, lease: Lease | None) -> None:
        self._run = run
        self._spend = spend
        self._stop = stop
        self._lease = lease
        self._search = SearchState(Archive())
        self._flow = Flow(run, self._search)
        self._tasks: dict[asyncio.Task[Finished], int] = {}
        self._ready: dict[int, Finished] = {}
        self._untold: set[int] = set()
        self._next_ordinal = 0
        self._started = run.clock.monotonic()
        self._warned: set[str] = set()

    async def run_to_end(self, history: History) -> RunSummary:
        """Restore, search, store the end; whatever happens, nothing of the session runs on."""
        store, run = self._run.store, self._run
        try:
            store.set_run_state(run.run_id, "running", None, run.clock.now())
            self._restore(history)
            await self._drive()
        except KforgeError as error:
            await self._cancel()
            shown = self._resumable(error)
            if shown is error:
                raise
            raise shown from error
        finally:
            await self._cancel()
        return self._end(self._final_state())

    # ------------------------------------------------------------------------------------ the searching

    async def _drive(self) -> None:
        self._top_up()
        stopping = asyncio.create_task(self._watch_stop())
        renewing = asyncio.create_task(self._renew())
        watchers = {stopping, renewing}
        try:
            while self._tasks and self._stop.level < 2:
                done, _ = await asyncio.wait({*self._tasks, *watchers}, return_when=asyncio.FIRST_COMPLETED)
                if renewing in done:
                    renewing.result()  # the lease is lost
                finished = [task for task in self._tasks if task in done]
                for task in finished:
                    self._ready[self._tasks.pop(task)] = task.result()
                self._tell_ready()
                if stopping in done:
                    watchers.discard(stopping)
        finally:
            for watcher in (stopping, renewing):
                watcher.cancel()
            await asyncio.gather(stopping, renewing, return_exceptions=True)

    def _tell_ready(self) -> None:
        """Tell what may be told, making room for a new decision after each."""
        while self._ready:
            # In deterministic mode the lowest outstanding ordinal is next, ready or not.
            ordinal = min(self._untold if self._run.config.deterministic else self._ready)
            finished = self._ready.pop(ordinal, None)
            if finished is None:
                return
            self._tell(finished)
            self._top_up()

    def _tell(self, finished: Finished) -> None:
        run, search, candidate = self._run, self._search, finished.candidate
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
        self._note(Judged(candidate, stored.id, finished.key, finished.outcome, finished.measures, duplicate))
        run.on_event(
            CandidateEvaluated(
                candidate.ordinal,
                candidate.id,
                finished.outcome,
                duplicate=duplicate,
                reused=reused_from is not None,
                evaluations=search.evaluations,
                evals_budget=run.config.evals,
            )
        )
        if entry is not None and added is not None and added.status != "rejected":
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

    def _note(self, judged: Judged) -> None:
        self._untold.discard(judged.candidate.ordinal)
        self._search.tell(judged)

    # ------------------------------------------------------------------------------------ what comes next

    def _top_up(self) -> None:
        """Decide and start proposals until the window is full or a limit is reached."""
        while self._has_room() and self._may_propose():
            self._start_next()

    def _has_room(self) -> bool:
        config, outstanding = self._run.config, len(self._untold)
        return (
            outstanding < self._run.window
            and self._search.evaluations + outstanding < config.evals
            and self._next_ordinal < config.max_proposals
        )

    def _may_propose(self) -> bool:
        """Limits that are not part of the decision rule: a stop, the clock."""
        return self._stop.level == 0 and not self._out_of_time()

    def _out_of_time(self) -> bool:
        minutes = self._run.config.minutes
        if minutes is None:
            return False
        used = (self._run.clock.monotonic() - self._started) / 60
        if used >= MINUTES_WARNING_SHARE * minutes:
            self._warn(BudgetWarning("minutes", f"{used:.1f} of {minutes:g} minutes are used"))
        return used >= minutes

    def _warn(self, warning: BudgetWarning) -> None:
        if warning.limit not in self._warned:
            self._warned.add(warning.limit)
            self._run.on_event(warning)

    def _start_next(self) -> None:
        ordinal = self._next_ordinal
        search, run = self._search, self._run
        decision = decide(run.config.seed, ordinal, search.archive, search.repairable())
        search.note_decision(decision.kind, decision.parent)
        messages = render_prompt(run.task, run.device, run.config.track, parts_of(decision, search))
        self._begin(ordinal, self._flow.propose_and_evaluate(decision, messages))

    def _begin(self, ordinal: int, flow: Coroutine[None, None, Finished] | None) -> None:
        self._untold.add(ordinal)
        self._next_ordinal = ordinal + 1
        if flow is not None:
            self._tasks[asyncio.create_task(flow)] = ordinal

    # ---------------------------------------------------------------------------------------- restoring

    def _restore(self, history: History) -> None:
        """Repeat the stored tells in their order; start again what was cut off."""
        run, search = self._run, self._search
        run.store.abandon_open_proposals(run.run_id, run.clock.now())
        run.on_event(
            RunStarted(
                proposer=run.proposer.name,
                offline=run.proposer.offline,
                evals_budget=run.config.evals,
                told=len(history.told),
                requeued=len(history.waiting),
            )
        )
        for told in history.told:
            # A window smaller than the stored run's would not have reached this ordinal yet.
            while self._has_room() or told.candidate.ordinal >= self._next_ordinal:
                self._restart_next(history)
            value, candidate = told.evaluation.value, told.candidate
            duplicate = search.first_with(value.key) is not None
            entry = None if duplicate else entry_of(candidate.id, value.outcome, value.measures)
            if entry is not None:
                search.archive.add(entry)
            self._note(
                Judged(
                    told.candidate, told.evaluation.id, value.key, value.outcome, value.measures, duplicate
                )
            )
        while self._next_ordinal <= max(history.candidates, default=-1):
            self._restart_next(history)

    def _restart_next(self, history: History) -> None:
        """Take the next ordinal's decision from the rows, or decide it now if no reply was stored."""
        candidate = history.candidates.get(self._next_ordinal)
        if candidate is None:
            self._start_next()
            return
        self._search.note_decision(candidate.kind, candidate.parent)
        waiting = history.waiting.get(candidate.ordinal)
        self._begin(candidate.ordinal, None if waiting is None else self._flow.evaluate(waiting))

    # ----------------------------------------------------------------------------------------- the ending

    async def _watch_stop(self) -> None:
        """Announce both stop requests; returns at the second, which ends the loop."""
        await self._stop.wait_above(0)
        self._run.on_event(StopRequested(1, len(self._untold)))
        await self._stop.wait_above(1)
        self._run.on_event(StopRequested(2, len(self._untold)))

    async def _renew(self) -> None:
        lease = self._lease
        while True:
            await asyncio.sleep(RENEW_S)
            if lease is not None:
                lease = self._run.store.renew(lease, self._run.clock.now())

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._flow.close()

    def _final_state(self) -> RunState:
        if self._search.evaluations >= self._run.config.evals:
            return "finished"
        if self._stop.level > 0:
            return "interrupted"
        if self._next_ordinal >= self._run.config.max_proposals:
            self._warn(
                BudgetWarning(
                    "proposals",
                    f"{self._next_ordinal} proposals gave {self._search.evaluations} different candidates",
                )
            )
        return "budget"

    def _end(self, state: RunState) -> RunSummary:
        run = self._run
        seconds = run.clock.monotonic() - self._started
        summary = summarise(
            self._search,
            self._spend,
            state=state,
            proposer=run.proposer.name,
            offline=run.proposer.offline,
            evals_budget=run.config.evals,
            seconds=seconds,
            device_idle_s=run.pool.idle_while_queued_s(),
        )
        # What a second stop cut off is abandoned spend, now as after a kill.
        run.store.abandon_open_proposals(run.run_id, run.clock.now())
        run.store.set_run_state(run.run_id, state, to_dict(summary), run.clock.now())
        run.on_event(RunEnded(state))
        return summary

    def _resumable(self, error: KforgeError) -> KforgeError:
        """The error with how to go on; the run's state is stored if the store still works."""
        if isinstance(error, StoreError):
            return error
        try:
            self._end("interrupted")
        except StoreError as second:
            return second
        if not isinstance(error, InfraError) or self._run.resume_command in error.next_step:
            return error
        return InfraError(error.message, f"{error.next_step}; then {self._run.resume_command}")


def _archive_event(entry: Entry, added: AddResult) -> ArchiveEvent:
    cell = "/".join(str(level) for level in entry.measures.cell)
    return ArchiveEvent(added.status, cell, entry.objective, added.improvement)
