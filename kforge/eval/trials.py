"""The check stage: trials of one workload from secret seeds, over several distributions."""

from __future__ import annotations

import random

from torch import Tensor

from kforge.clock import Clock
from kforge.errors import TaskError
from kforge.eval.contender import Challenger
from kforge.eval.inputs import TRIALS, Distribution
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Precision


def run_trials(
    bench: Workbench,
    contender: Challenger,
    precision: Precision,
    *,
    clock: Clock,
    protocol: Protocol,
    secret: random.Random,
) -> tuple[float, bool]:
    """Run every trial of one workload.

    Returns:
        (worst error in units of the allowance, KernelBench's own verdict over all trials).

    Raises:
        Stop: the candidate failed; carries the outcome.
        TaskError: the reference is not finite on its own inputs.
    """
    stage = Stage(bench.spec.name, "check", protocol)
    with stage:
        contender.client.wait_loaded(protocol.load_limit_s)

    def run_once(draw: Draw) -> list[Tensor]:
        given = draw.given(bench.state_names)
        with stage:
            contender.run_once(given, secret.choice(POISONS), clock, protocol)
        stage.require_undamaged(contender, given)
        return contender.snapshot()

    def trial(distribution: Distribution) -> tuple[float, bool] | None:
        draw = bench.draw(distribution)
        return stage.require_correct(bench, run_once(draw), draw, precision)

    def judged(distribution: Distribution) -> tuple[float, bool]:
        found = trial(distribution)
        if found is None and distribution != "own":
            # The reference itself is not finite or not accurate on these values: the task's own are left.
            found = trial("own")
        if found is None:
            raise TaskError(
                f"The reference of workload {bench.spec.name!r} is not finite on its own inputs.",
                "change the task's get_inputs, or its INPUT_KINDS",
            )
        return found

    worst, kb_correct = 0.0, True
    for number, distribution in enumerate(TRIALS):
        stage.trial = number
        error, kb = judged(distribution)
        worst, kb_correct = max(worst, error), kb_correct and kb
    return worst, kb_correct
