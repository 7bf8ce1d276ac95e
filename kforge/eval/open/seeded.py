"""The bench of an open candidate: its weights are those that it constructs itself under a known seed."""

from __future__ import annotations

from torch import Tensor

from kforge.eval.state import tensors_of
from kforge.eval.workbench import Workbench


class SeededBench(Workbench):
    """Draws fresh inputs; the state is the reference's, constructed under the candidate's seed."""

    _state: dict[str, Tensor] | None = None

    def reseed(self, seed: int) -> None:
        """Use the weights of another seed from here on."""
        self._state = tensors_of(self.workload.model(seed, self._device))

    def _drawn_state(self) -> dict[str, Tensor]:
        assert self._state is not None, "reseed first"
        return {name: value.detach().clone() for name, value in self._state.items()}
