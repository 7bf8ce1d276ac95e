"""Does a task deserve to be one? The control pack under KernelBench's rules and under kforge's own.

KernelBench's: its inputs, its seeds, weights that never change, ``allclose`` in its order of arguments, five
trials. kforge's: secret draws over ``trials`` with fresh weights, and the bounds of ``check.judge``. A
control is accepted when every trial of every workload accepts it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from kforge.data.tasks.describe import describe_workload
from kforge.data.tasks.loader import LoadedWorkload, Value
from kforge.data.verdicts import CheckedWorkload, Finding, Judged, NotApplicable, Referee
from kforge.errors import TaskError
from kforge.eval.check import Mismatch, Truth, judge
from kforge.eval.controls import CONTROLS, Control
from kforge.eval.controls_scene import Answer, Blind, Refusal, Sample, Scene
from kforge.eval.inputs import Distribution, trials
from kforge.eval.state import tensors_of
from kforge.eval.workbench import Draw, Workbench

# KernelBench's scripts: five trials, seeds drawn from generator 42; weights from seed 42.
KERNELBENCH_SEED = 42
KERNELBENCH_TRIALS = 5
# The bound of its first published version, for every type; today that of fp16 and bf16.
V0_BOUND = 1e-2
# Draws that constants are fitted on.
OTHERS = 2
_OTHER_SEEDS = (1_000_003, 1_000_033, 1_000_037)


@dataclass(slots=True)
class _Standing:
    """What is known of one control so far."""

    control: Control
    accepted: set[Referee] = field(default_factory=lambda: {"kforge", "kernelbench", "kernelbench_v0"})
    error: float | None = None
    trial: str | None = None
    detail: str = ""
    refusal: str | None = None
    maps: set[str] = field(default_factory=set)

    @property
    def does_the_work(self) -> bool:
        """Whether one and the same map was right on every distribution: then it is what the task asks for."""
        return self.control.is_map and "kforge" in self.accepted and len(self.maps) == 1

    def finding(self) -> Finding:
        """The end of it."""
        if self.refusal is not None:
            return NotApplicable(self.control.name, self.refusal)
        accepted = tuple(r for r in ("kforge", "kernelbench", "kernelbench_v0") if r in self.accepted)
        return Judged(self.control.name, accepted, self.error, self.trial, self.detail)


def check_workloads(
    workloads: Sequence[LoadedWorkload],
    secret: random.Random,
    kernelbench: Sequence[LoadedWorkload] | None = None,
) -> tuple[Finding, ...]:
    """Try every control on every workload.

    Args:
        workloads: of one task, at the size to check.
        secret: seeds of kforge's draws.
        kernelbench: the same at the size that KernelBench's referee judges at; None means at the same.

    Raises:
        TaskError: the reference fails, or is not fit to judge on its own inputs.
    """
    standings = [_Standing(control) for control in CONTROLS]
    for workload in workloads if kernelbench is None else kernelbench:
        _Pack(workload, standings, secret).kernelbench()
    for workload in workloads:
        _Pack(workload, standings, secret).kforge()
    _excuse_maps(standings)
    return tuple(standing.finding() for standing in standings)


def _excuse_maps(standings: Sequence[_Standing]) -> None:
    """Where the reference is a map of single values, no such map is a way not to do the work."""
    exact = [s.detail for s in standings if s.refusal is None and s.does_the_work]
    for standing in standings:
        if exact and standing.control.is_map and standing.refusal is None:
            standing.refusal = f"the reference is a map of single values itself: {exact[0]}"


def checked_workload(
    workload: LoadedWorkload,
    changed: dict[str, tuple[str, str]],
    referee: Literal["both", "kforge", "KernelBench"],
) -> CheckedWorkload:
    """The shapes of a workload, for the verdict."""
    spec = describe_workload(workload)
    inputs = {
        i.name: _shape(i.tensor.shape) if i.tensor is not None else str(i.constant) for i in spec.inputs
    }
    outputs = tuple(_shape(o.shape) for o in spec.outputs)
    return CheckedWorkload(workload.name, inputs, outputs, changed, referee)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


class _Pack:
    """The control pack on one workload."""

    def __init__(
        self, workload: LoadedWorkload, standings: Sequence[_Standing], secret: random.Random
    ) -> None:
        self._workload = workload
        self._standings = standings
        self._bench = Workbench(workload, describe_workload(workload), lambda: secret.getrandbits(63))

    def kforge(self) -> None:
        """Every trial of kforge's check stage, as long as a control stands."""
        for distribution in trials("ieee"):
            if not self._standing({"kforge"}):
                return
            self._trial(distribution)

    def _standing(self, referees: set[Referee]) -> list[_Standing]:
        return [s for s in self._standings if s.refusal is None and s.accepted & referees]

    def kernelbench(self) -> None:
        """Every trial of KernelBench's, as long as a control stands."""
        both: set[Referee] = {"kernelbench", "kernelbench_v0"}
        weights, other_weights = self._state(KERNELBENCH_SEED), self._state(KERNELBENCH_SEED + 1)
        drawn = torch.Generator().manual_seed(KERNELBENCH_SEED)
        # Weights never change there, so these serve every trial; what another trial left has them too.
        *fitted, last = (self._sample(tuple(self._workload.inputs(s)), weights) for s in _OTHER_SEEDS)
        for _ in range(KERNELBENCH_TRIALS):
            if not self._standing(both):
                return
            seed = int(torch.randint(0, 2**32 - 1, (1,), generator=drawn))
            inputs = tuple(self._workload.inputs(seed))
            draw = Draw(inputs, weights, "own")
            right = self._bench.eager(draw)
            scene = self._scene(draw, fitted, last.outputs, other_weights)
            for standing in self._standing(both):
                outputs = self._outputs(standing, scene, right)
                if outputs is None:
                    continue
                for referee in sorted(standing.accepted & both):
                    if not self._allclose(right, outputs, referee):
                        standing.accepted.discard(referee)

    def _allclose(self, right: Sequence[Tensor], outputs: Sequence[Tensor], referee: Referee) -> bool:
        for own, output in zip(right, outputs, strict=True):
            bounds = self._workload.tolerances(own.dtype)
            atol, rtol = (V0_BOUND, V0_BOUND) if referee == "kernelbench_v0" else (bounds.atol, bounds.rtol)
            if not torch.allclose(own, output, atol=atol, rtol=rtol):
                return False
        return True

    def _trial(self, distribution: Distribution) -> None:
        found = self._truth(distribution)
        if found is None and distribution != "own":
            # As in the check stage: the reference is not fit to judge there, its own values are left.
            found = self._truth("own")
        if found is None:
            raise TaskError(
                f"The reference of workload {self._workload.name!r} is not finite, or leaves "
                "kforge's allowance, on its own inputs.",
                "change the task's get_inputs, or its INPUT_KINDS",
            )
        draw, truths = found
        right = [truth.eager for truth in truths]
        drawn = [self._bench.draw(draw.distribution) for _ in range(OTHERS)]
        stale = self._bench.eager(drawn[-1])
        fitted = [self._sample(d.inputs, draw.state) for d in drawn]
        scene = self._scene(draw, fitted, stale, drawn[-1].state)
        for standing in self._standing({"kforge"}):
            outputs = self._outputs(standing, scene, right)
            if outputs is not None:
                standing.maps.add(standing.detail)
                self._judge(standing, outputs, truths, draw.distribution)

    def _truth(self, distribution: Distribution) -> tuple[Draw, tuple[Truth, ...]] | None:
        draw = self._bench.draw(distribution)
        truths = self._bench.truth(draw, "ieee")
        return None if truths is None else (draw, truths)

    def _judge(
        self, standing: _Standing, outputs: Sequence[Tensor], truths: Sequence[Truth], distribution: str
    ) -> None:
        worst = 0.0
        for position, (output, truth) in enumerate(zip(outputs, truths, strict=True)):
            judged = judge(output, truth, f"output {position}")
            if isinstance(judged, Mismatch):
                standing.accepted.discard("kforge")
                standing.error, standing.trial = judged.max_error, distribution
                return
            worst = max(worst, judged.max_error)
        standing.error = max(worst, standing.error or 0.0)

    def _outputs(
        self, standing: _Standing, scene: Scene, right: Sequence[Tensor]
    ) -> tuple[Tensor, ...] | None:
        control = standing.control
        found = control.answer(scene) if isinstance(control, Blind) else control.partly(scene, right)
        match found:
            case Answer(outputs=outputs, detail=detail):
                standing.detail = detail
                return outputs
            case Refusal(reason=reason):
                standing.refusal = reason
                return None

    def _scene(
        self,
        draw: Draw,
        others: Sequence[Sample],
        stale: tuple[Tensor, ...],
        other_state: dict[str, Tensor],
    ) -> Scene:
        def run(values: Sequence[Value]) -> tuple[Tensor, ...] | None:
            try:
                return self._bench.eager(replace(draw, inputs=tuple(values)))
            except TaskError:  # it relies on the shapes that it was written for
                return None

        weighted = bool(self._bench.spec.parameters)
        reweighted = self._bench.eager(replace(draw, state=other_state)) if weighted else None
        return Scene(draw.inputs, tuple(others), stale, reweighted, run)

    def _sample(self, inputs: tuple[Value, ...], state: dict[str, Tensor]) -> Sample:
        return Sample(inputs, self._bench.eager(Draw(inputs, state, "own")))

    def _state(self, seed: int) -> dict[str, Tensor]:
        return {
            name: value.detach().clone() for name, value in tensors_of(self._workload.model(seed)).items()
        }
