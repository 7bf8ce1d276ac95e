"""One workload on the verifier's bench: the reference, secret draws, the truth. No candidate code here."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kforge.data.tasks.loader import LoadedWorkload, Value
from kforge.data.tasks.randomness import generators_state
from kforge.errors import TaskError
from kforge.eval.check import Mismatch, Truth, fit_to_judge, judge, kernelbench_verdict, truths
from kforge.eval.deciding import CHEAPER, decides
from kforge.eval.defences import DEFENCES, Defence
from kforge.eval.inputs import Distribution, generator, transform
from kforge.eval.physics import least_us, needed_shares
from kforge.eval.pieces import Piece, pieces_of
from kforge.eval.probes import Probe
from kforge.eval.state import assign, perturb_constants, tensors_of
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


@dataclass(frozen=True, slots=True)
class Verified:
    """Right outputs: worst error in units of the allowance, KernelBench's own verdict."""

    max_error: float
    kb_correct: bool


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong output, and KernelBench's own verdict as far as outputs were compared."""

    mismatch: Mismatch
    kb_correct: bool


def _forgiven(output: Tensor, expected: Tensor) -> Tensor:
    """What a comparison sees that passes over NaN and infinity."""
    return torch.where(torch.isfinite(output), output, expected.to(output.dtype))


class Workbench:
    """Draws values for one workload and computes what must come out.

    Args:
        workload: the reference; it runs only here.
        spec: its shapes.
        seeds: secret seeds, fresh at every call.
        device: where values are drawn and the truth is computed.
        defences: those that are on (``Protocol.defences``).
    """

    def __init__(
        self,
        workload: LoadedWorkload,
        spec: WorkloadSpec,
        seeds: SeedSource,
        device: torch.device | None = None,
        *,
        defences: frozenset[Defence] = DEFENCES,
    ) -> None:
        self._defences = defences
        self.workload = workload
        self.spec = spec
        self.state_names = [t.name for t in (*spec.parameters, *spec.buffers)]
        self._seeds = seeds
        self._device = torch.device("cpu") if device is None else device
        self._kinds = workload.input_kinds
        self._model = workload.model(0, self._device)
        self._exact: nn.Module | None = None
        self._mutates = True  # until a run shows otherwise
        self._pieces: tuple[Piece, ...] | None = None
        self._least_us: float | None = None
        self._decided: set[Precision] = set()
        self._probe = Probe(self._run_eager, random.Random(seeds()))

    def draw(self, distribution: Distribution) -> Draw:
        """Fresh inputs and parameters from fresh secret seeds.

        Args:
            distribution: of the real-valued inputs.
        """
        if "adversarial_values" not in self._defences:
            distribution = "own"
        named = self.workload.named_inputs(self._seeds(), self._device)
        rng = self._generator()
        inputs: list[Value] = []
        real: dict[torch.Size, Tensor] = {}
        for name in list(named):
            value = named.pop(name)  # full-size inputs are not held twice
            if isinstance(value, Tensor):
                kind, shape = self._kinds[name], value.shape
                value = transform(value, kind, distribution, rng, real.get(shape))
                if kind == "real" and value.is_floating_point():
                    real.setdefault(shape, value)
            inputs.append(value)
        return Draw(tuple(inputs), self._drawn_state(), distribution)

    def _drawn_state(self) -> dict[str, Tensor]:
        """Parameters and buffers for one draw."""
        if "fresh_state" not in self._defences:
            return tensors_of(self.workload.model(0, self._device))
        model = self.workload.model(self._seeds(), self._device)
        return perturb_constants(model, self._generator())

    def _generator(self) -> torch.Generator:
        return generator(self._seeds(), self._device)

    def eager(self, draw: Draw) -> tuple[Tensor, ...]:
        """The reference in its own precision."""
        assign(self._model, draw.state)
        return self._run_eager(draw.inputs)

    def _eager_not_by_chance(self, draw: Draw) -> tuple[Tensor, ...]:
        before = generators_state(self._device)
        eager = self.eager(draw)
        if generators_state(self._device) != before:
            raise TaskError(
                f"The reference of workload {self.spec.name!r} draws random numbers while it runs, as "
                "dropout in training mode does: what it returns is chance, and no answer is right or wrong.",
                "let the task's Model draw nothing in forward: call self.eval(), or draw in get_inputs",
            )
        return eager

    def _run_eager(self, inputs: Sequence[Value]) -> tuple[Tensor, ...]:
        """One forward call that leaves the draw's inputs as they are, also where the reference does not."""
        tensors = [v for v in inputs if isinstance(v, Tensor)]
        own = [v.clone() if self._mutates and isinstance(v, Tensor) else v for v in inputs]
        before = [v._version for v in own if isinstance(v, Tensor)]
        outputs = self.workload.run(self._model, own)[0]
        self._mutates = before != [v._version for v in own if isinstance(v, Tensor)]
        storages = {t.untyped_storage().data_ptr() for t in tensors}
        return tuple(o.clone() if o.untyped_storage().data_ptr() in storages else o for o in outputs)

    def truth(self, draw: Draw, precision: Precision) -> tuple[Truth, ...] | None:
        """The truth for a draw; None when the reference itself leaves its band or is not finite there."""
        return self._truth(draw.inputs, draw, self.eager(draw), precision)

    def _truth(
        self, inputs: Sequence[Value], draw: Draw, eager: Sequence[Tensor], precision: Precision
    ) -> tuple[Truth, ...] | None:
        found = truths(lambda: self._run_exact(inputs, draw.state), eager, precision, self._generator())
        for output, truth in zip(eager, found, strict=True):
            if not fit_to_judge(output, truth, own=draw.distribution == "own"):
                return None
        if precision not in self._decided and decides(inputs, draw.state, found, precision, self._run_exact):
            self._decided.add(precision)
        return found

    def precision_decided(self, precision: Precision) -> bool | None:
        """Whether a trial so far told a precision from the cheaper ones; None where none is cheaper."""
        return None if CHEAPER[precision] is None else precision in self._decided

    def _run_exact(self, inputs: Sequence[Value], state: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        if self._exact is None:
            self._exact = copy.deepcopy(self._model).double()
        assign(self._exact, state)
        exact: list[Value] = [
            v.double() if isinstance(v, Tensor) and v.is_floating_point() else copy.copy(v) for v in inputs
        ]
        return self.workload.run(self._exact, exact)[0]

    def verify(self, outputs: Sequence[Tensor], draw: Draw, precision: Precision) -> Verified | Wrong | None:
        """Judge a candidate's outputs; None when the reference itself is not fit to judge on these values.

        Args:
            outputs: as the candidate left them.
            draw: what it was given.
            precision: its declared precision.

        Raises:
            TaskError: the reference is a matter of chance.
        """
        eager = self._eager_not_by_chance(draw)
        if self._pieces is None:
            self._pieces = pieces_of(draw.inputs, eager, self._run_eager)
        worst, kb = 0.0, True
        for piece in self._pieces or (None,):
            inputs = draw.inputs if piece is None else piece.inputs(draw.inputs)
            own = eager if piece is None else [piece.output(value) for value in eager]
            truth = self._truth(inputs, draw, own, precision)
            if truth is None:
                return None
            if draw.distribution == "own":
                self._probe.learn(draw.inputs, eager, truth)
            found = [o if piece is None else piece.output(o) for o in outputs]
            kb = kb and self.kernelbench(found, truth)
            if "precision_model" not in self._defences:
                if not kb:
                    return Wrong(Mismatch("mismatch", "not close to eager", None), kb)
                continue
            if "exact_masks" not in self._defences:
                found = [_forgiven(o, t.exact) for o, t in zip(found, truth, strict=True)]
            for position, (output, expected) in enumerate(zip(found, truth, strict=True)):
                name = f"output {position}" if len(outputs) > 1 else "the output"
                judged = judge(output, expected, name, first_row=0 if piece is None else piece.start)
                if isinstance(judged, Mismatch):
                    return Wrong(judged, kb)
                worst = max(worst, judged.max_error)
        return Verified(worst, kb)

    def probe(self, outputs: Sequence[Tensor], draw: Draw) -> Mismatch | None:
        """Look at secretly chosen rows of one run's outputs; None where nothing is amiss.

        Cheap enough for every run. What may differ was learnt from the truths of the check stage.

        Args:
            outputs: of the run; only read.
            draw: what it was given, from the task's own distribution.
        """
        if "precision_model" not in self._defences:
            return None  # what may differ is learnt from it
        assign(self._model, draw.state)
        if "exact_masks" not in self._defences:
            outputs = [_forgiven(o, e) for o, e in zip(outputs, self.eager(draw), strict=True)]
        return self._probe.look(outputs, draw.inputs)

    def least_us(self, l2_bytes: int, rate: float) -> float:
        """Microseconds that no run can beat on a cold cache; measured on the reference at the first call.

        Args:
            l2_bytes: size of the cache that may keep what is written.
            rate: bytes per second of a large copy, read plus written.
        """
        if self._least_us is None:
            draw = self.draw("own")
            eager = self.eager(draw)
            needed = needed_shares(draw.inputs, self._run_eager, random.Random(self._seeds()))
            self._least_us = least_us(draw.inputs, eager, needed, l2_bytes, rate)
        return self._least_us

    def kernelbench(self, outputs: Sequence[Tensor], truth: Sequence[Truth]) -> bool:
        """KernelBench's verdict over all outputs, at the task's tolerances."""
        for output, expected in zip(outputs, truth, strict=True):
            bounds = self.workload.tolerances(expected.eager.dtype)
            if not kernelbench_verdict(output, expected.eager, bounds.atol, bounds.rtol):
                return False
        return True
