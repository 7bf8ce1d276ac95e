"""An open candidate on a card: copies in and out are in the timed window, so nothing outside it is of use.

Work that a stopped process left on the card goes on. But the values of a call are copied from the verifier's
own memory once the clock runs, and the outputs are copied out before it ends. Eager and the empty module are
timed alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kforge.clock import Clock
from kforge.eval import cuda_driver
from kforge.eval.open.card import HANDLE
from kforge.eval.open.contender import OpenContender
from kforge.eval.open.store import CudaStore
from kforge.eval.runner_client import Sample


class CudaOpenContender(OpenContender):
    """The child exports one allocation of its own; nothing of the verifier is ever mapped there."""

    _memory: cuda_driver.DeviceMemory | None = None
    _given: Sequence[Tensor] = ()
    _taken: Sequence[Tensor] = ()

    def map(self) -> None:
        """Map the child's memory, once it has loaded.

        Raises:
            CudaFailed: it cannot be mapped.
        """
        device = torch.device("cuda", torch.cuda.current_device())
        self._memory = cuda_driver.import_memory(bytes(self.client.arena.view(HANDLE)), self._places.size)
        self._store = CudaStore(self._memory.bytes(device), device)

    def close(self) -> None:
        """Unmap the memory and end the process; safe to call twice."""
        memory, self._memory = self._memory, None
        if memory is not None:
            self._store.finish()
            cuda_driver.close_memory(memory)
        super().close()

    def offer(self, given: Sequence[Tensor], poison: int) -> None:
        """Choose places and poison where the outputs go; the values follow once the clock runs."""
        self._given = given
        super().offer(given, poison)
        self._store.finish()

    def _write(self, given: Sequence[Tensor]) -> None:
        """Nothing before the clock runs, except where the child does not stand still anyway."""
        if self._tree is None:
            super()._write(given)

    def _timed(self, request: bytes, clock: Clock, limit_s: float) -> Sample:
        """From before the values are copied in until the outputs have been copied out."""
        tree = self._tree
        self.require_still()
        started = clock.monotonic()

        def begin() -> None:
            if tree is not None:
                OpenContender._write(self, self._given)
                self._store.finish()
                tree.release()

        sample = self.client.timed(request, clock, limit_s, begin)
        self._taken = [output.clone() for output in OpenContender.outputs(self)]
        self._store.finish()
        wall_us = (clock.monotonic() - started) * 1e6
        self.halt(clock)
        return replace(sample, wall_us=wall_us)

    def outputs(self) -> list[Tensor]:
        """The outputs as they were when the window ended."""
        return list(self._taken)
