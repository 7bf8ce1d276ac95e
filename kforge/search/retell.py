"""The summary of a stored run, told again from its rows: also for a run that is under way or was killed."""

from __future__ import annotations

from kforge.data.records import RunRecords
from kforge.search.accounts import accounts_of
from kforge.search.archive import Archive
from kforge.search.events import RunState
from kforge.search.parse import ParseCandidate
from kforge.search.proposer import ASK_NO_MODEL, signature
from kforge.search.resume import history_of
from kforge.search.state import SearchState
from kforge.search.strategies.registry import BEFORE_STRATEGIES, make_strategy
from kforge.search.summary import RunSummary, summarise
from kforge.search.tell import tell_again


def summary_of(records: RunRecords, parse_candidate: ParseCandidate) -> RunSummary:
    """Rebuild archive and counters from the stored evaluations.

    Args:
        records: everything of one run.
        parse_candidate: reads one candidate file.

    Raises:
        StoreError: a row was written by a kforge that knows more than this one.
        UsageError: the run has a strategy that this kforge does not know.
    """
    history = history_of(records, parse_candidate)
    strategy = strategy_of(records)
    search = SearchState(Archive(), make_strategy(strategy, records.run.seed))
    for told in history.told:
        search.note_decision(told.candidate.kind, told.candidate.parent)
        tell_again(search, told)
    stored = records.run.summary or {}
    proposer = _proposer(records)
    return summarise(
        search,
        history.spend,
        state=_state(records),
        proposer=proposer,
        strategy=strategy,
        offline=proposer in ASK_NO_MODEL,
        unanswered=sum(proposal.state == "requested" for proposal in records.proposals),
        evals_budget=int(_number(records.run.config.get("evals"))),
        accounts=accounts_of(records),
        seconds=_number(stored.get("seconds")),
        device_idle_s=_number(stored.get("device_idle_s")),
    )


def strategy_of(records: RunRecords) -> str:
    """Who chose the parents of a run."""
    return str(records.run.config.get("strategy", BEFORE_STRATEGIES))


def _proposer(records: RunRecords) -> str:
    """Who was asked last; where nobody was, who would have been."""
    asked = [proposal.model for proposal in records.proposals if proposal.kind != "given"]
    config = records.run.config
    named = config.get("models") or [config.get("model", "unknown")]
    found = asked or [str(spec) for spec in named if spec] if isinstance(named, list) else asked
    return signature(found[-1])[0] if found else "unknown"


def _state(records: RunRecords) -> RunState:
    # A row that still says "running" belongs to a driver that is at work, or was killed.
    return "interrupted" if records.run.state == "running" else records.run.state


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
