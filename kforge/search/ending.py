"""How a session ends: its summary is a row, and whoever watches is told."""

from __future__ import annotations

from kforge.codec import to_dict
from kforge.errors import KforgeError
from kforge.search.accounts import accounts_of
from kforge.search.budget import Ledger
from kforge.search.context import RunContext
from kforge.search.events import RunEnded, RunState
from kforge.search.state import SearchState
from kforge.search.summary import RunSummary, summarise


def end_session(
    run: RunContext, search: SearchState, ledger: Ledger, state: RunState, started_s: float
) -> RunSummary:
    """Store the summary with the run's state.

    Args:
        run: what the session was given.
        search: everything told.
        ledger: what was used.
        state: how it ended.
        started_s: when the session began, on the run's monotonic clock.

    Raises:
        StoreError: the store failed.
    """
    keeps = run.proposer.keeps_requests
    if not keeps:  # what a second stop cut off is abandoned spend, now as after a kill
        run.store.abandon_open_proposals(run.run_id, run.clock.now())
    summary = summarise(
        search,
        ledger.spend,
        state=state,
        proposer=run.proposer.name,
        strategy=run.config.strategy,
        offline=run.proposer.offline,
        unanswered=ledger.spend.open if keeps else 0,
        evals_budget=run.config.evals,
        accounts=accounts_of(run.store.load_run(run.run_id)),
        seconds=run.clock.monotonic() - started_s,
        device_idle_s=run.pool.idle_while_queued_s(),
    )
    run.store.set_run_state(run.run_id, state, to_dict(summary), run.clock.now())
    run.on_event(RunEnded(state))
    return summary


def with_resume(error: KforgeError, resume_command: str) -> KforgeError:
    """The same error, with how the run goes on."""
    if resume_command in error.next_step:
        return error
    return type(error)(error.message, f"{error.next_step}; then {resume_command}")
