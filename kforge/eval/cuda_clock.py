"""The device clock of one process: L2 flushed, work enqueued ahead of the GPU, an event on either side.

Every timed run begins with a kernel that waits long enough for the host to have enqueued everything behind
it, so the host's launch path is not in the time (nvbench's blocking kernel, with a limit instead of a lock:
it cannot deadlock). Whether the host was ahead is seen from the start event, and said with every figure.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import torch

from kforge.eval import cuda_driver
from kforge.eval.cuda_driver import call, driver
from kforge.eval.runner_main import Run

FLUSH_FACTOR = 2
FIRST_LEAD_US = 300.0
LONGEST_LEAD_US = 50_000.0
READ_BLOCKS = 1024


class DeviceClock:
    """Times what a function submits to one stream.

    Args:
        device: of the current context.
        image: cubin of ``trusted.cu``.
        flushes: False leaves caches as the last run left them: what the flush is worth, for its tests.
        resets: False leaves persisting lines, likewise.
    """

    def __init__(
        self, device: torch.device, image: bytes, *, flushes: bool = True, resets: bool = True
    ) -> None:
        self._flushes, self._resets = flushes, resets
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._module = cuda_driver.load_module(image)
        self._wait = cuda_driver.kernel_of(self._module, "kf_wait")
        self._read = cuda_driver.kernel_of(self._module, "kf_read")
        l2_bytes = torch.cuda.get_device_properties(device).L2_cache_size
        size = max(FLUSH_FACTOR * l2_bytes, 32 << 20)
        self._written, self._clean = cuda_driver.allocate(size), cuda_driver.allocate(size)
        self._out = cuda_driver.allocate(4 * READ_BLOCKS)
        call(driver().cuMemsetD8(self._clean.address, 0, self._clean.size), "memset")
        self._read_arguments = _Arguments(
            ctypes.c_uint64(self._clean.address),
            ctypes.c_int64(self._clean.size // 16),
            ctypes.c_uint64(self._out.address),
        )
        self._lead_us = FIRST_LEAD_US
        self._enqueue_us = FIRST_LEAD_US
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def timed(self, submit: Callable[[], None]) -> Run:
        """Flush, wait ahead, run what ``submit`` enqueues between two events, and wait for it."""
        with torch.cuda.stream(self.stream):
            self._flush()
            self._hold(self._lead_us)
            begun = time.perf_counter()
            self._start.record(self.stream)
            submit()
            self._stop.record(self.stream)
            ahead = not self._start.query()  # type: ignore[no-untyped-call]
            self._enqueue_us = (time.perf_counter() - begun) * 1e6
            self._stop.synchronize()
        self._reset()
        self._lead_us = min(max(self._lead_us, 2.0 * self._enqueue_us + 50.0), LONGEST_LEAD_US)
        return Run(self._start.elapsed_time(self._stop) * 1e3, ahead)

    def plain(self, submit: Callable[[], None]) -> None:
        """Run without a clock, as in warm-up and check."""
        with torch.cuda.stream(self.stream):
            submit()
            self.stream.synchronize()
        self._reset()

    def burst(self, submit: Callable[[], None] | None, runs: int, wipe: Callable[[], None]) -> None:
        """``runs`` wiped and flushed runs in a row behind one wait; without ``submit``, nothing in them.

        The verifier times two bursts from outside: what separates them is the work, on its own clock.
        ``wipe`` takes away what a run left, or the second could answer from the memory of the first.
        """
        with torch.cuda.stream(self.stream):
            self._hold(min(runs * (1.5 * self._enqueue_us + 60.0), 4 * LONGEST_LEAD_US))
            for _ in range(runs):
                wipe()
                self._flush()
                if submit is not None:
                    submit()
            self.stream.synchronize()
        self._reset()

    def _reset(self) -> None:
        if self._resets:
            cuda_driver.reset_persisting_l2()

    def _hold(self, us: float) -> None:
        self._launch(self._wait, 1, 1, _Arguments(ctypes.c_int64(int(us * 1e3))))

    def _flush(self) -> None:
        """Write more than L2 holds, then read as much of something else: cold, and no dirty lines left."""
        if not self._flushes:
            return
        cuda_driver.fill(self._written.address, 0x5A, self._written.size, self.stream.cuda_stream)
        self._launch(self._read, READ_BLOCKS, 256, self._read_arguments)

    def _launch(self, kernel: object, grid: int, block: int, arguments: _Arguments) -> None:
        call(
            driver().cuLaunchKernel(
                kernel, grid, 1, 1, block, 1, 1, 0, self.stream.cuda_stream, arguments.address, 0
            ),
            "launching a referee's kernel",
        )  # fmt: skip


class _Arguments:
    """Kernel arguments in host memory; ``address`` points at the array of pointers that a launch takes."""

    def __init__(self, *values: ctypes.c_int64 | ctypes.c_uint64) -> None:
        self._values = values
        self._pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        self.address = ctypes.addressof(self._pointers)
