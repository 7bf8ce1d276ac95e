"""A run in a process of its own, made to be killed: one byte goes out per event."""

from __future__ import annotations

import os
from pathlib import Path

import ribs.archives  # noqa: F401 - imported once by the fork server instead of in every child

from kforge.search.events import Event
from tests.evolve.world import WorldPool, WorldProposer, config, open_store, run_session

EVALS = 60
IN_FLIGHT = 3


def _delay_s(gene: str) -> float:
    return 0.002 * (int(gene) % 4)


def drive(directory: Path, deterministic: bool, progress: int | None) -> None:
    """Drive the run of ``directory`` to its end, from wherever it stands."""

    def tell(event: Event) -> None:
        if progress is not None:
            os.write(progress, b".")

    with open_store(directory) as store:
        settings = config(EVALS, in_flight=IN_FLIGHT, deterministic=deterministic)
        run_session(
            store,
            settings,
            WorldPool(delay_s=_delay_s),
            WorldProposer(genes=400, delay_s=0.01),
            on_event=tell,
        )
