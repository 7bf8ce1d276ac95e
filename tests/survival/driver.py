"""A driver that evaluates once, says where its scratch lies, and waits to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.survival.scene import Scene

if __name__ == "__main__":
    home = Path(sys.argv[1])
    scene = Scene(home, home / "cache")
    scene.outcome()
    scratch = scene.pool._worker._scratch
    assert scratch is not None
    sys.stdout.write(f"{scratch.path}\n")
    sys.stdout.flush()
    time.sleep(300)
