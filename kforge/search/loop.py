"""The search loop: steady state, no generations, every result told at once.

The rule that makes a run resumable: the proposal of ordinal n is decided right after a told candidate
has made room for it, from what was told until then. Restoring a run repeats the stored tells in their
stored order with the same rule, so decisions that a kill cut off are taken from the state in which the
undisturbed run would have taken them.

In rounds (``stop_when_waiting``) the rule is coarser: proposals are decided when everything that is answered
has been told, and telling goes in the order of ordinals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from kforge.clock import Clock
from kforge.data.lease import Lease
from kforge.errors import KforgeError, StoreError
from kforge.search.archive import Archive
from kforge.search.asking import next_proposal
from kforge.search.budget import Ledger, Use
from kforge.search.context import LoopConfig, RunContext
from kforge.search.ending import end_session, with_resume
from kforge.search.events import (
    AnswerAwaited,
    BudgetWarning,
    Event,
    RunStarted,
    RunState,
    SessionFailing,
)
from kforge.search.flow import Asked, Finished, Flow
from kforge.search.parse import ParseCandidate
from kforge.search.pool import Pool
from kforge.search.proposer import NO_CHARGE, Proposer, Quote, require_support
from kforge.search.resume import History, history_of
from kforge.search.state import SearchState
from kforge.search.stop import StopSignal
from kforge.search.strategies.registry import make_strategy
from kforge.search.summary import RunSummary
from kforge.search.tell import tell, tell_again
from kforge.search.watch import announce_stop, keep_lease
from kforge.types import DeviceInfo, TaskDescription

if TYPE_CHECKING:
    from kforge.data.store import Store


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
        when another limit came first, ``waiting`` when only unanswered requests are left and the session was
        not to wait for them, ``interrupted`` after a stop.

    Raises:
        UsageError: the proposer cannot write for this task.
        InfraError: proposer or pool failed again and again. The run can be resumed.
        StoreError: the store failed. What was acknowledged is stored; the run can be resumed.
    """
    if config.asks:
        require_support(proposer, task)
    records = store.load_run(run_id)
    history = history_of(records, parse_candidate)
    ledger = Ledger(config.limits, history.spend, clock)

    def emit(event: Event) -> None:
        ledger.note(event)
        on_event(event)

    run = RunContext(
        config, task, device, pool, proposer, store, run_id, records.run.name, clock, parse_candidate, emit
    )
    return await _Session(run, ledger, stop, lease).run_to_end(history)


class _Session:
    """The mutable middle of one session; lives for one call of ``evolve``.

    ``_tasks`` run candidates, ``_ready`` holds outcomes that wait for their turn, ``_untold`` the
    ordinals that were decided and are not told, ``_unanswered`` those whose answer has not come.
    """

    def __init__(self, run: RunContext, ledger: Ledger, stop: StopSignal, lease: Lease | None) -> None:
        self._run = run
        self._ledger = ledger
        self._stop = stop
        self._lease = lease
        self._search = SearchState(Archive(), make_strategy(run.config.strategy, run.config.seed))
        self._flow = Flow(run, self._search)
        self._tasks: dict[asyncio.Task[Finished | Asked], int] = {}
        self._ready: dict[int, Finished] = {}
        self._untold: set[int] = set()
        self._unanswered: dict[int, Asked] = {}
        self._progress = False  # something was told since the last look for answers
        self._failure: KforgeError | None = None
        self._next_ordinal = 0
        self._started = run.clock.monotonic()

    async def run_to_end(self, history: History) -> RunSummary:
        """Restore, search, store the end; whatever happens, nothing of the session runs on."""
        run = self._run
        try:
            run.store.set_run_state(run.run_id, "running", None, run.clock.now())
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
        run = self._run
        under_way, outstanding = lambda: len(self._untold - self._idle()), lambda: len(self._untold)
        stopping = asyncio.create_task(announce_stop(self._stop, run.on_event, under_way, outstanding))
        renewing = asyncio.create_task(keep_lease(self._lease, run.store, run.clock))
        watchers = {stopping, renewing}
        try:
            while self._stop.level < 2 and self._goes_on():
                done, _ = await asyncio.wait(
                    {*self._tasks, *watchers}, timeout=self._pause_s(), return_when=asyncio.FIRST_COMPLETED
                )
                if renewing in done:
                    renewing.result()  # the lease is lost
                for task in [task for task in self._tasks if task in done]:
                    self._take(self._tasks.pop(task), task)
                self._tell_ready()
                for warning in self._ledger.warnings():
                    run.on_event(warning)
                if not self._rounds and (self._progress or not done):
                    self._look_for_answers()
                if stopping in done:
                    watchers.discard(stopping)
            if self._failure is not None:
                raise self._failure
        finally:
            for watcher in (stopping, renewing):
                watcher.cancel()
            await asyncio.gather(stopping, renewing, return_exceptions=True)

    def _take(self, ordinal: int, task: asyncio.Task[Finished | Asked]) -> None:
        """Take in how a way ended; after the first failure what is under way, and paid for, still ends."""
        try:
            result = task.result()
        except StoreError:
            raise
        except KforgeError as error:
            if self._failure is not None:
                raise
            self._failure = error
            self._run.on_event(SessionFailing(ordinal, error.message, len(self._tasks)))
            return
        if isinstance(result, Finished):
            self._unanswered.pop(ordinal, None)
            self._ready[ordinal] = result
            return
        known, said = self._unanswered.get(ordinal), result.unanswered
        self._unanswered[ordinal] = result
        if said is not None and (known is None or known.unanswered != said):
            self._run.on_event(AnswerAwaited(ordinal, said.place, said.prompt, said.rejected))

    def _tell_ready(self) -> None:
        """Tell what may be told, making room for a new decision after each."""
        while self._ready:
            ordinal = self._next_to_tell()
            finished = self._ready.pop(ordinal, None)
            if finished is None:
                return
            tell(self._run, self._search, finished)
            self._untold.discard(ordinal)
            self._progress = True
            self._top_up()

    def _next_to_tell(self) -> int:
        """In a fixed order the lowest outstanding ordinal, ready or not; rounds pass over the unanswered."""
        if self._run.config.deterministic and not self._rounds:
            return min(self._untold)
        return min(self._untold - self._idle() if self._rounds else self._ready)

    # --------------------------------------------------------------------------------- waiting for answers

    @property
    def _rounds(self) -> bool:
        return self._run.config.stop_when_waiting

    def _idle(self) -> set[int]:
        """Ordinals for which nothing can be done before an answer comes."""
        return set(self._unanswered) - set(self._tasks.values())

    def _goes_on(self) -> bool:
        """Whether there is anything left to do, or to wait for."""
        if self._tasks:
            return True
        if self._rounds:
            self._top_up()
            if not self._tasks and self._progress:
                self._look_for_answers()
            return bool(self._tasks)
        return self._may_wait()

    def _may_wait(self) -> bool:
        enough = self._search.evaluations >= self._run.config.evals
        return bool(self._unanswered) and self._may_propose() and not enough

    def _pause_s(self) -> float | None:
        """When to look for answers again, whatever else happens."""
        return self._run.config.poll_s if not self._rounds and self._may_wait() else None

    def _look_for_answers(self) -> None:
        self._progress = False
        if self._may_propose():
            for ordinal in sorted(self._idle()):
                self._begin(ordinal, self._flow.propose_and_evaluate(self._unanswered[ordinal]))

    # ------------------------------------------------------------------------------------ what comes next

    def _top_up(self) -> None:
        """Decide and start proposals until the window is full or a limit is reached."""
        if self._rounds and (self._tasks or self._ready):
            return  # what is answered comes first
        while self._has_room() and self._may_propose() and self._start_next():
            pass

    def _has_room(self) -> bool:
        """Whether another proposal may be decided; the user's own files are told before anybody is asked."""
        config, outstanding, own = self._run.config, len(self._untold), len(self._run.config.given)
        return (
            outstanding < self._run.window
            and self._search.evaluations + outstanding < config.evals
            and self._next_ordinal < config.max_proposals
            and (self._next_ordinal < own or all(ordinal >= own for ordinal in self._untold))
        )

    def _may_propose(self) -> bool:
        """Limits that are not part of the decision rule: a stop, a failure, what may be used."""
        if self._stop.level or self._failure is not None:
            return False
        return not self._ended_by(self._ledger.spent())

    def _ended_by(self, use: Use | None, quote: Quote = NO_CHARGE) -> bool:
        """Whether a limit ends the asking; said once nothing is outstanding that may yet turn out cheaper."""
        if use is not None and not self._untold:
            for warning in self._ledger.end_of(use, quote):
                self._run.on_event(warning)
        return use is not None

    def _start_next(self, *, lost: bool = False) -> bool:
        """Decide the next proposal and ask for it.

        Args:
            lost: it was asked for before and its answer was lost: whatever is left of the limits.

        Returns:
            Whether the limits allow it.
        """
        run = self._run
        asked = next_proposal(run, self._search, self._next_ordinal)
        decision = asked.decision
        quote = NO_CHARGE
        if decision.kind != "given":
            quote = run.proposer.quote(self._flow.request(asked))
            if self._ledger.spend.proposals <= len(run.config.given):
                self._ledger.require_affordable(quote)
            if not lost and self._ended_by(self._ledger.exhausted(quote), quote):
                return False
        self._search.note_decision(decision.kind, decision.parent)
        self._begin(decision.ordinal, self._flow.propose_and_evaluate(asked), quote)
        return True

    def _begin(
        self, ordinal: int, flow: Coroutine[None, None, Finished | Asked] | None, quote: Quote = NO_CHARGE
    ) -> None:
        self._untold.add(ordinal)
        self._next_ordinal = max(self._next_ordinal, ordinal + 1)
        if flow is not None:
            self._ledger.commit(ordinal, quote)
            self._tasks[asyncio.create_task(flow)] = ordinal

    # ---------------------------------------------------------------------------------------- restoring

    def _restore(self, history: History) -> None:
        """Repeat the stored tells in their order; start again what was cut off."""
        run, search = self._run, self._search
        if not run.proposer.keeps_requests:
            run.store.abandon_open_proposals(run.run_id, run.clock.now())
            history = history.without_open_requests()
        run.on_event(
            RunStarted(
                proposer=run.proposer.name,
                offline=run.proposer.offline,
                evals_budget=run.config.evals,
                told=len(history.told),
                requeued=len(history.waiting),
            )
        )
        if run.proposer.unpriced:
            unknown = f"the price of {', '.join(run.proposer.unpriced)} is unknown and counts as $0.00"
            run.on_event(BudgetWarning("usd", unknown, 0.0))
        for told in history.told:
            # A window smaller than the stored run's would not have reached this ordinal yet.
            while told.candidate.ordinal >= self._next_ordinal:
                self._restart_next(history)
            while not self._rounds and self._has_room() and self._restart_next(history):
                pass
            tell_again(search, told)
            self._untold.discard(told.candidate.ordinal)
        while self._next_ordinal <= history.last_ordinal:
            self._restart_next(history)

    def _restart_next(self, history: History) -> bool:
        """Take the next ordinal's decision from the rows, or decide it now if nothing of it was stored.

        Returns:
            False where it would be a new request and the limits forbid it.
        """
        asked = history.open.get(self._next_ordinal)
        if asked is not None:
            self._search.note_decision(asked.decision.kind, asked.decision.parent)
            self._begin(self._next_ordinal, self._flow.propose_and_evaluate(asked))
            return True
        candidate = history.candidates.get(self._next_ordinal)
        if candidate is None:
            return self._start_next(lost=self._next_ordinal <= history.last_ordinal)
        self._search.note_decision(candidate.kind, candidate.parent)
        waiting = history.waiting.get(candidate.ordinal)
        self._begin(candidate.ordinal, None if waiting is None else self._flow.evaluate(waiting))
        return True

    # ----------------------------------------------------------------------------------------- the ending

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
        if self._unanswered and self._ledger.spent() is None:
            return "waiting"
        if self._next_ordinal >= self._run.config.max_proposals:
            gave = f"{self._next_ordinal} proposals gave {self._search.evaluations} different candidates"
            self._run.on_event(BudgetWarning("proposals", gave))
        return "budget"

    def _end(self, state: RunState) -> RunSummary:
        return end_session(self._run, self._search, self._ledger, state, self._started)

    def _resumable(self, error: KforgeError) -> KforgeError:
        """The error with how to go on; the run's state is stored if the store still works."""
        if isinstance(error, StoreError):
            return error
        try:
            self._end("interrupted")
        except StoreError as second:
            return second
        return with_resume(error, self._run.resume_command)
