"""Puts a diagnosis beside every timed workload of a candidate that passed. Changes no figure, no verdict."""

from __future__ import annotations

from dataclasses import replace

from kforge.eval.case import Case
from kforge.eval.diagnosis import diagnose
from kforge.types import Built, Ceilings, DeviceInfo, Outcome, Passed, Precision, TaskDescription


def diagnosed(
    outcome: Outcome,
    built: Built,
    task: TaskDescription,
    *,
    device: DeviceInfo,
    ceilings: Ceilings | None,
    precision: Precision,
) -> Outcome:
    """The same outcome; workloads whose plan has no facts (SYCL) stay without a diagnosis.

    Args:
        outcome: of check and bench.
        built: what was measured.
        task: that it was measured on.
        device: that it ran on.
        ceilings: of that device; None where nobody measured it.
        precision: as the candidate declares it.
    """
    if not isinstance(outcome, Passed):
        return outcome
    specs = {workload.name: workload for workload in task.workloads}
    results = [
        result
        if (plan := built.plan_facts.get(result.workload)) is None or result.workload not in specs
        else replace(
            result,
            diagnosis=diagnose(
                Case(
                    specs[result.workload], precision, device, ceilings, built.facts, plan,
                    result.candidate.median_us,
                )
            ),
        )
        for result in outcome.workloads
    ]  # fmt: skip
    return replace(outcome, workloads=tuple(results))
