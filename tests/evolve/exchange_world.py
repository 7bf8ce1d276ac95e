"""Both sides of an exchange in the test world: sessions of a run, and those who answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from kforge.clock import SystemClock
from kforge.data.records import RunRecords
from kforge.data.store import Store
from kforge.search.events import Event
from kforge.search.exchange import LIFETIME, ExchangeProposer
from kforge.search.stop import StopSignal
from kforge.search.summary import RunSummary
from tests.evolve.world import WorldPool, candidate_text, config, make_run, run_session


def exchange(directory: Path, *, lifetime: timedelta = LIFETIME, settle_s: float = 0.0) -> ExchangeProposer:
    return ExchangeProposer(directory, SystemClock(), lifetime, settle_s)


def session(
    store: Store,
    directory: Path,
    evals: int,
    *,
    in_flight: int = 2,
    rounds: bool = True,
    pool: WorldPool | None = None,
    name: str = "r1",
    on_event: Callable[[Event], None] = lambda event: None,
    stop: StopSignal | None = None,
    lifetime: timedelta = LIFETIME,
) -> RunSummary:
    """One session of a run over an exchange."""
    settings = config(evals, in_flight=in_flight, deterministic=False, proposal_deadline_s=0.001)
    return run_session(
        store,
        replace(settings, stop_when_waiting=rounds, poll_s=0.01),
        pool or WorldPool(),
        exchange(directory, lifetime=lifetime),
        run_id=make_run(store, name),
        on_event=on_event,
        stop=stop,
    )


def prompts(directory: Path) -> list[str]:
    """Ids of all prompts, by ordinal."""
    return sorted(path.name.removesuffix(".prompt.json") for path in directory.glob("*.prompt.json"))


def unanswered(directory: Path) -> list[str]:
    """Ids of the prompts without any answer."""
    return [name for name in prompts(directory) if not list(directory.glob(f"{name}.answer.*"))]


def document(directory: Path, name: str) -> Any:  # noqa: ANN401
    return json.loads((directory / name).read_text())


def fenced(gene: str) -> str:
    return f"```python\n{candidate_text(gene)}```\n"


def put(directory: Path, name: str, content: str | bytes) -> None:
    """Hand in a file as the protocol asks: a draft, then its name."""
    draft = directory / f".{name}.draft"
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(draft, directory / name)


def answer(directory: Path, prompt_id: str, gene: str, **fields: Any) -> None:  # noqa: ANN401
    put(
        directory,
        f"{prompt_id}.answer.json",
        json.dumps({"id": prompt_id, "content": fenced(gene), "model": "somebody", **fields}),
    )


def claimed(directory: Path, prompt_id: str) -> bool:
    """Take a prompt for oneself; False when another was first."""
    try:
        os.close(os.open(directory / f"{prompt_id}.claim", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def search_of(records: RunRecords) -> dict[str, object]:
    """A run without ids and times: what was asked, answered, told in which order."""
    ordinals = {c.id: c.ordinal for c in records.candidates}
    return {
        "prompts": {p.ordinal: p.prompt for p in records.proposals},
        "decisions": {
            p.ordinal: (p.kind, p.seed, [ordinals[i] for i in (*p.parents, *p.inspirations)])
            for p in records.proposals
        },
        "sources": {c.ordinal: c.source for c in records.candidates},
        "told": [(ordinals[e.candidate_id], e.value.outcome) for e in records.evaluations],
    }
