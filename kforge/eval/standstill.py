"""A runner that moves only while it is timed.

On a CPU device a kernel shares its runner's process, so whatever that process can do outside the timed window
may be the kernel's work. Here it can do nothing there: all its threads are stopped, and seen to be, before
values are written and until outputs have been read. The clock starts before they go on; what they still use
of the processors between the reply and their stop is added to the time, as if it had been spread evenly.
"""

from __future__ import annotations

import signal
import time
from dataclasses import replace

from kforge.clock import Clock
from kforge.eval.runner_client import RunnerClient, RunnerHung, Sample
from kforge.eval.runner_main import GO, NOOP
from kforge.eval.threads import processor_us, standing

# Pauses of the poll: a thread that is to stop needs a processor for it, which a busy poll would keep.
POLL_S = 100e-6
STOP_LIMIT_S = 30.0


class Standstill:
    """Stops one runner for good and lets it go on for one request at a time.

    Args:
        client: the runner, loaded and idle.
        processors: that its threads can run on at the same time.
        charged: whether processor time after the reply counts. A trusted runner has nothing to hide in it,
            and its waiting threads may spin for a while.
    """

    def __init__(self, client: RunnerClient, processors: int, *, charged: bool) -> None:
        self._client, self._processors, self._charged = client, processors, charged

    def halt(self) -> None:
        """Stop every thread, and return when all stand still.

        Raises:
            RunnerHung: some thread does not stop.
        """
        self._client.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_LIMIT_S
        before: frozenset[tuple[int, int]] | None = None
        while True:
            time.sleep(POLL_S)
            threads = standing((self._client.pid,))
            # Twice the same: one that started during the first look would be missing in it.
            if threads is not None and threads == before:
                return
            before = threads
            if time.monotonic() > deadline:
                self._client.kill()
                raise RunnerHung(f"a thread of the runner did not stop within {STOP_LIMIT_S:g} s")

    def release(self) -> None:
        """Let it go on."""
        self._client.send_signal(signal.SIGCONT)

    def go(self, clock: Clock, limit_s: float) -> Sample:
        """Run once; everything that the runner does meanwhile is in the sample's time."""
        return self._timed(GO, clock, limit_s)

    def noop(self, clock: Clock, limit_s: float) -> Sample:
        """An empty request: the floor under every sample."""
        return self._timed(NOOP, clock, limit_s)

    def _timed(self, request: bytes, clock: Clock, limit_s: float) -> Sample:
        sample = self._client.timed(request, clock, limit_s, self.release)
        replied_us = processor_us(self._client.pid)
        self.halt()
        after_reply_us = processor_us(self._client.pid) - replied_us
        if not self._charged:
            return sample
        return replace(sample, wall_us=sample.wall_us + after_reply_us / self._processors)
