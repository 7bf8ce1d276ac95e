"""One workload on the verifier's bench: the reference, secret draws, the truth. No candidate code here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kforge.data.tasks.loader import LoadedWorkload, Value
from kforge.eval.check import Mismatch, Truth, judge, kernelbench_verdict, truths
from kforge.eval.inputs import Distribution, generator, transform
from kforge.eval.state import assign, perturb_constants
from kforge.types import Precision, WorkloadSpec

SeedSource = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Draw:
    """One set of values: inputs in forward's order, state_dict tensors by name."""

    inputs: tuple[Value, ...]
    state: dict[str, Tensor]
    distribution: Distribution

    def given(self, state_names: Sequence[str]) -> list[Tensor]:
        """The tensors that a runner gets, inputs first."""
        return [v for v in self.inputs if isinstance(v, Tensor)] + [self.state[name] for name in state_names]


class Workbench:
    """Draws values for one workload and computes what must come out."""

    def __init__(self, workload: LoadedWorkload, spec: WorkloadSpec, seeds: SeedSource) -> None:
        self.workload = workload
        self.spec = spec
        self.state_names = [t.name for t in (*spec.parameters, *spec.buffers)]
        self._seeds = seeds
        self._kinds = workload.input_kinds
        self._model = workload.model(0)
        self._exact: nn.Module | None = None

    def draw(self, distribution: Distribution) -> Draw:
        """Fresh inputs and parameters from fresh secret seeds.

        Args:
            distribution: of the real-valued inputs.
        """
        named = self.workload.named_inputs(self._seeds())
        rng = generator(self._seeds())
        inputs = tuple(
            transform(value, self._kinds[name], distribution, rng) if isinstance(value, Tensor) else value
            for name, value in named.items()
        )
        state = perturb_constants(self.workload.model(self._seeds()), generator(self._seeds()))
        return Draw(inputs, state, distribution)

    def eager(self, draw: Draw) -> tuple[Tensor, ...]:
        """The reference in its own precision."""
        assign(self._model, draw.state)
        inputs: list[Value] = [v.clone() if isinstance(v, Tensor) else v for v in draw.inputs]
        return self.workload.run(self._model, inputs)[0]

    def truth(self, draw: Draw, precision: Precision) -> tuple[Truth, ...] | None:
        """The truth for a draw; None when the reference itself leaves its band or is not finite there."""
        eager = self.eager(draw)
        found = truths(lambda: self._run_exact(draw), eager, precision, generator(self._seeds()))
        for position, (output, truth) in enumerate(zip(eager, found, strict=True)):
            finite = not truth.exact.is_floating_point() or bool(torch.isfinite(truth.exact).all())
            if not finite or isinstance(judge(output, truth, f"output {position}"), Mismatch):
                return None
        return found

    def _run_exact(self, draw: Draw) -> tuple[Tensor, ...]:
        if self._exact is None:
            self._exact = copy.deepcopy(self._model).double()
        assign(self._exact, draw.state)
        inputs: list[Value] = [
            v.double() if isinstance(v, Tensor) and v.is_floating_point() else copy.copy(v)
            for v in draw.inputs
        ]
        return self.workload.run(self._exact, inputs)[0]

    def kernelbench(self, outputs: Sequence[Tensor], truth: Sequence[Truth]) -> bool:
        """KernelBench's verdict over all outputs, at the task's tolerances."""
        for output, expected in zip(outputs, truth, strict=True):
            bounds = self.workload.tolerances(expected.eager.dtype)
            if not kernelbench_verdict(output, expected.eager, bounds.atol, bounds.rtol):
                return False
        return True
