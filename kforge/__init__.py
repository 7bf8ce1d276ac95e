"""kforge: the open foundry for GPU kernels.

The package root stays empty of imports: the planning child runs without site-packages and imports
``kforge.eval.planning`` through it, and ``kforge --help`` must answer at once.
"""

__version__ = "0.1.0"
