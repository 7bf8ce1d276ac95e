"""kforge: the open foundry for GPU kernels.

``kforge.evaluate`` and ``kforge.evolve`` are the library (docs/python.md). The package root stays empty of
imports: the planning child runs without site-packages and imports ``kforge.eval.planning`` through it, and
``kforge --help`` must answer at once.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kforge.api import Evaluation, Search, evaluate, evolve

__all__ = ["Evaluation", "Search", "__version__", "evaluate", "evolve"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The library, loaded when it is first asked for."""
    if name in __all__:
        from kforge import api  # the command line and the library are one layer: see pyproject.toml

        return getattr(api, name)
    raise AttributeError(f"module 'kforge' has no attribute {name!r}")
