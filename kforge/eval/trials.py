"""The check stage: trials of one workload from secret seeds, over several distributions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kforge.clock import Clock
from kforge.errors import TaskError
from kforge.eval.contender import Challenger
from kforge.eval.inputs import Distribution, trials
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage, Stop
from kforge.eval.workbench import Draw, Workbench
from kforge.numerics import Numerics
from kforge.types import CheckFailed, Precision, WorkloadResult


@dataclass(frozen=True, slots=True)
class Checked:
    """What the trials of one workload said.

    Attributes:
        max_error: worst error in units of the allowance.
        kb_correct: KernelBench's own verdict, on the task's own distribution as KernelBench draws it.
        trials: how many there were.
    """

    max_error: float
    kb_correct: bool
    precision_decided: bool | None
    deterministic: bool
    trials: int

    def told(self, result: WorkloadResult) -> WorkloadResult:
        """A benchmark's result with what the trials found."""
        difference = None
        if not result.kb_correct:
            difference = (
                f"right to {result.max_error:.2g} of what rounding at the declared precision allows, but an "
                "output differs from eager's by more than the task's atol + rtol * |eager|: the tolerance is "
                "absolute and knows neither the size of the values nor eager's own error"
            )
        return replace(
            result,
            trials=self.trials,
            numerics=Numerics(self.precision_decided, self.deterministic, difference),
        )


def run_trials(
    bench: Workbench,
    contender: Challenger,
    precision: Precision,
    *,
    clock: Clock,
    protocol: Protocol,
    secret: random.Random,
) -> Checked:
    """Run every trial of one workload.

    Raises:
        Stop: the candidate failed; carries the outcome.
        TaskError: the reference is not finite on its own inputs.
    """
    runs = _Trials(bench, contender, precision, clock, protocol, secret)
    planned = trials(precision)
    worst = max(runs.trial(number, distribution) for number, distribution in enumerate(planned))
    return Checked(
        max_error=worst,
        kb_correct=runs.kb_correct is not False,
        precision_decided=bench.precision_decided(precision),
        deterministic=runs.deterministic,
        trials=len(planned),
    )


class _Trials:
    """Trials of one candidate; ``kb_correct`` is None until KernelBench's verdict is known."""

    def __init__(  # noqa: PLR0917 - those of run_trials, in its order
        self,
        bench: Workbench,
        contender: Challenger,
        precision: Precision,
        clock: Clock,
        protocol: Protocol,
        secret: random.Random,
    ) -> None:
        self._bench, self._contender, self._precision = bench, contender, precision
        self._clock, self._protocol, self._secret = clock, protocol, secret
        self._stage = Stage(bench.spec.name, "check", protocol)
        with self._stage:
            contender.client.wait_loaded(protocol.load_limit_s)
        self.kb_correct: bool | None = None
        self.deterministic = True

    def trial(self, number: int, distribution: Distribution) -> float:
        """Draw, run, judge; the worst error in units of the allowance."""
        self._stage.trial = number
        draw = self._bench.draw(distribution)
        error = self._judged(draw, repeat=number == 0)
        if error is None and distribution != "own":
            # The reference itself is not finite, accurate or well-conditioned there: the task's own are left.
            error = self._judged(self._bench.draw("own"), repeat=False)
        if error is None:
            raise TaskError(
                f"The reference of workload {self._bench.spec.name!r} is not finite on its own inputs.",
                "change the task's get_inputs, or its INPUT_KINDS",
            )
        return error

    def _judged(self, draw: Draw, *, repeat: bool) -> float | None:
        poisons = self._secret.sample(POISONS, 2)
        outputs = self._run(draw, poisons[0])
        error = self._judge(outputs, draw)
        if not repeat or error is None:
            return error
        again = self._run(draw, poisons[1])
        if _same_bits(outputs, again):
            return error
        # Additions in another order, or values that nobody wrote: each run must be right.
        self.deterministic = False
        return max(error, self._judge(again, draw) or 0.0)

    def _run(self, draw: Draw, poison: int) -> list[Tensor]:
        given = draw.given(self._bench.state_names)
        with self._stage:
            self._contender.run_once(given, poison, self._clock, self._protocol)
        self._stage.require_undamaged(self._contender, given)
        return self._contender.snapshot()

    def _judge(self, outputs: Sequence[Tensor], draw: Draw) -> float | None:
        try:
            found = self._stage.require_correct(self._bench, outputs, draw, self._precision)
        except Stop as stop:
            if isinstance(stop.outcome, CheckFailed):
                raise Stop(_explained(stop.outcome, draw.distribution, self.kb_correct)) from stop
            raise
        if found is None:
            return None
        if draw.distribution == "own":  # KernelBench never sees another distribution
            self.kb_correct = found[1] and self.kb_correct is not False
        return found[0]


def _same_bits(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        if a.dim()
        else torch.equal(a, b) or bool(torch.isnan(a) & torch.isnan(b))
        for a, b in zip(first, second, strict=True)
    )


def _explained(found: CheckFailed, distribution: Distribution, kb_so_far: bool | None) -> CheckFailed:
    """The outcome with KernelBench's verdict on the task's own values, and why it differs from this one."""
    if found.kind not in ("mismatch", "non_finite"):
        return found
    kb = found.kb_correct if distribution == "own" else kb_so_far
    if not kb:
        return replace(found, kb_correct=kb)
    why = (
        "its absolute tolerance is wider than rounding at the declared precision explains"
        if distribution == "own"
        else f"it draws nothing like {distribution!r}"
    )
    return replace(found, kb_correct=True, reason=f"{found.reason} (KernelBench's allclose accepts: {why})")
