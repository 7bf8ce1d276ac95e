"""Which layers an open candidate would get on this machine: all of them tried, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from kforge.eval.open import control_group
from kforge.eval.open.layers import LAYERS, PROCESSES
from kforge.eval.sandbox import PACKAGE_ROOT, scrubbed_environment
from kforge.eval.scratch import scratch_directory

_PROBE = """
import json, sys; sys.path.insert(0, sys.argv[1])
from kforge.eval.open import layers
border = layers.Border(sys.argv[2], (), (), {}, frozenset(), groups=json.loads(sys.argv[3]))
print(json.dumps(layers.enter(border)), flush=True)
"""
_MEMORY_BYTES = 1 << 30


def layers_here(python: str = sys.executable) -> dict[str, bool]:
    """Layer to whether it holds here; none does where the attempt itself failed."""
    group = control_group.make(_MEMORY_BYTES, PROCESSES)
    try:
        with scratch_directory("kforge-open-") as scratch:
            folders = [] if group is None else list(group.folders)
            probe = subprocess.run(
                [python, "-I", "-S", "-B", "-c", _PROBE, PACKAGE_ROOT, scratch, json.dumps(folders)],
                capture_output=True, check=False, timeout=60, env=scrubbed_environment(),
            )  # fmt: skip
    finally:
        if group is not None:
            group.remove()
    try:
        taken = json.loads(probe.stdout)
    except ValueError:
        taken = {}
    return {name: bool(taken.get(name)) for name in LAYERS}
