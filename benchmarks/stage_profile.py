"""Where do the seconds of an evaluation go? One candidate measured several times, the verifier profiled.

``python -m benchmarks.stage_profile kb/L1/19 relu.py --size small --times 3`` prints the seconds of opening,
of every check and bench, and the functions of kforge in which the verifier spent them (``cProfile``,
which itself costs some). What the runner's and the baseline's processes do shows as waiting for them.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import io
import pstats
import sys
from pathlib import Path

from kforge.clock import SystemClock, secret_seed
from kforge.config import places
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.candidate import parse_candidate
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import PROTOCOLS
from kforge.eval.verifier import Verifier
from kforge.eval.worker import PREPARATIONS
from kforge.types import Built, CandidateSource
from kforge.workers.hardware import choose_device


class Watch:
    """Seconds between marks.

    Args:
        clock: monotonic.
    """

    def __init__(self, clock: SystemClock) -> None:
        self._clock, self._last = clock, clock.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = self._clock.monotonic()
        passed, self._last = now - self._last, now
        return passed


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", default="full")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--lines", type=int, default=30)
    options = parser.parse_args()
    clock = SystemClock()
    watch = Watch(clock)
    source = parse_candidate(options.file.read_text())
    if not isinstance(source, CandidateSource):
        sys.exit(source.reason)
    device, cache = choose_device(source.language, "auto"), places().cache
    loaded = load_task(resolve(options.task), options.size)
    description = describe(loaded)
    print(f"{device.name}: task loaded and described {watch.lap():.2f} s")
    job = PREPARATIONS[source.language](cache, device)[0]
    print(f"device prepared {watch.lap():.2f} s")
    verifier = Verifier(
        loaded, description, device,
        job={**job, "task": options.task, "size": options.size, "user_dir": None},
        clock=clock, seeds=secret_seed, protocol=PROTOCOLS["screen"],
    )  # fmt: skip
    print(f"verifier opened {watch.lap():.2f} s")
    built = asyncio.run(
        build_candidate(
            source, source.first_choice(), description, device=device, track="sealed", cache_dir=cache
        )
    )
    if not isinstance(built, Built):
        sys.exit(built.reason)
    print(f"built {watch.lap():.2f} s ({'cached' if built.cached else 'compiled'})")
    profile = cProfile.Profile()
    try:
        for _ in range(options.times):
            marks: dict[str, float] = {}

            def on_stage(stage: str, marks: dict[str, float] = marks) -> None:
                marks[stage] = watch.lap()

            watch.lap()
            with profile:
                outcome = verifier.measure(built, source.precision, on_stage)
            print(f"{outcome.status}: check {marks.get('bench', 0.0):.2f} s, bench {watch.lap():.2f} s")
    finally:
        verifier.close()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats("kforge|torch", options.lines)
    print(text.getvalue().replace(str(Path.cwd()) + "/", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
