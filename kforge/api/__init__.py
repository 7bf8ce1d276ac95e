"""kforge as a library: evaluate one candidate, evolve many. The command line is built on it."""

from kforge.api.evaluation import Evaluation, evaluate
from kforge.api.search import Search, evolve

__all__ = ["Evaluation", "Search", "evaluate", "evolve"]
