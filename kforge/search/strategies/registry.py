"""The strategies that can be asked for, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from kforge.clock import decision_rng
from kforge.errors import UsageError
from kforge.search.strategies.base import Draw, Strategy
from kforge.search.strategies.baselines import BestOfN, Greedy, Latest, RandomAttempts, RandomRestart
from kforge.search.strategies.cells import Curiosity, Gradient, MapElites, Mixed
from kforge.search.strategies.harmonic import Harmonic
from kforge.search.strategies.populations import Annealing, Beam, Islands, TopK

STRATEGIES: Mapping[str, Callable[[Draw], Strategy]] = {
    "harmonic": Harmonic,
    "best-of-n": BestOfN,
    "random": RandomAttempts,
    "latest": Latest,
    "greedy": Greedy,
    "restart": RandomRestart,
    "beam": Beam,
    "top-k": TopK,
    "annealing": Annealing,
    "islands": Islands,
    "map-elites": MapElites,
    "mixed": Mixed,
    "curiosity": Curiosity,
    "gradient": Gradient,
}
# What "default" stands for. A run stores the name itself, so a later kforge goes on with the same rule.
DEFAULT = "default"
SHIPPED = "harmonic"
# The rule of runs that began before there was a choice.
BEFORE_STRATEGIES = "mixed"


def strategy_named(name: str, among: Collection[str] = STRATEGIES) -> str:
    """The name that a run stores: ``default`` becomes the strategy that it stands for.

    Args:
        name: as it was asked for.
        among: those that there are.

    Raises:
        UsageError: there is no such strategy.
    """
    found = SHIPPED if name == DEFAULT else name
    if found not in among:
        raise UsageError(
            f"--strategy {name!r} is unknown.", f"use --strategy {DEFAULT}, or one of {', '.join(among)}"
        )
    return found


def make_strategy(name: str, seed: int) -> Strategy:
    """A strategy at its beginning, which draws from the run's seed.

    Raises:
        UsageError: there is no such strategy.
    """
    return STRATEGIES[strategy_named(name)](partial(decision_rng, seed))
