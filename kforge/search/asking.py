"""What to ask for next, in words: the decision of an ordinal with the messages that carry it out."""

from __future__ import annotations

from kforge.search.context import RunContext
from kforge.search.flow import Asked
from kforge.search.prompts import parts_of, reformat_messages, render_prompt
from kforge.search.proposer import Message
from kforge.search.selection import Decision, decide
from kforge.search.state import SearchState
from kforge.types import ParseFailed


def next_proposal(run: RunContext, search: SearchState, ordinal: int) -> Asked:
    """Decide the proposal of ``ordinal`` from the search as it stands, and word it. Changes nothing."""
    decision = decide(
        run.config.seed, ordinal, search.archive, search.repairable(), search.strategy,
        given=len(run.config.given), unread=search.unread(),
    )  # fmt: skip
    return Asked(decision, _messages(run, search, decision))


def _messages(run: RunContext, search: SearchState, decision: Decision) -> tuple[Message, ...]:
    if decision.kind == "given":
        return ()
    if decision.kind != "reformat" or decision.parent is None:
        return render_prompt(
            run.task, run.device, run.config.track, parts_of(decision, search), ceilings=run.pool.ceilings
        )
    judged = search.judged[decision.parent]
    unread = judged.candidate.unread
    if unread is None:
        raise AssertionError(f"candidate {decision.parent} was read")
    reason = judged.outcome.reason if isinstance(judged.outcome, ParseFailed) else ""
    return reformat_messages(unread.asked, unread.reply, reason)
