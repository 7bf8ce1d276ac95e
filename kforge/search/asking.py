"""What to ask for next, in words: the decision of an ordinal with the messages that carry it out."""

from __future__ import annotations

from kforge.search.context import RunContext
from kforge.search.flow import Asked
from kforge.search.prompts import parts_of, reformat_messages, render_prompt
from kforge.search.proposer import Message
from kforge.search.selection import Decision, decide
from kforge.search.state import Candidate, SearchState
from kforge.types import ParseFailed

SEARCH_MARK = "<<<<<"


def next_proposal(run: RunContext, search: SearchState, ordinal: int) -> Asked:
    """Decide the proposal of ``ordinal`` from the search as it stands, and word it. Changes nothing."""
    decision = decide(
        run.config.seed, ordinal, search.archive, search.repairable(),
        given=len(run.config.given), unread=search.unread(),
    )  # fmt: skip
    return Asked(decision, _messages(run, search, decision))


def _messages(run: RunContext, search: SearchState, decision: Decision) -> tuple[Message, ...]:
    if decision.kind == "given":
        return ()
    messages = render_prompt(
        run.task, run.device, run.config.track, parts_of(decision, search), ceilings=run.pool.ceilings
    )
    if decision.kind != "reformat" or decision.parent is None:
        return messages
    unread = search.judged[decision.parent]
    reason = unread.outcome.reason if isinstance(unread.outcome, ParseFailed) else ""
    reply = unread.candidate.reply or ""
    edited = _edited_file(search, unread.candidate) if SEARCH_MARK in reply else None
    return reformat_messages(messages[0].content, reply, reason, parent=edited)


def _edited_file(search: SearchState, candidate: Candidate) -> str | None:
    """The file that search/replace blocks of a reply were meant for."""
    source = None if candidate.parent is None else search.judged[candidate.parent].candidate.source
    return None if source is None else source.text
