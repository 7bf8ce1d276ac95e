"""What a diagnosis may know: the case as a whole, and each of its launches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kforge.diagnosis_types import InstructionMix, LaunchFacts, MeasuredMetrics, PlanFacts
from kforge.eval.architectures import Architecture
from kforge.eval.pipes import Flaws, Pipes
from kforge.types import BuildFacts, Ceilings, DeviceInfo, Precision, WorkloadSpec


@dataclass(frozen=True, slots=True)
class Case:
    """All that a diagnosis may know.

    Attributes:
        precision: as the candidate declares it.
        ceilings: None where the device was not measured.
        time_us: of one run of the plan; None where it was not timed.
        metrics: of kernels that were profiled, by name.
    """

    workload: WorkloadSpec
    precision: Precision
    device: DeviceInfo
    ceilings: Ceilings | None
    facts: BuildFacts
    plan: PlanFacts
    time_us: float | None
    metrics: Mapping[str, MeasuredMetrics] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """One kind of launch with everything that is known of it.

    Attributes:
        metrics: None where nobody profiled.
        weight: its estimated share of the plan's work.
    """

    launch: LaunchFacts
    mix: InstructionMix
    pipes: Pipes
    flaws: Flaws
    metrics: MeasuredMetrics | None
    limits: Architecture
    weight: float

    @property
    def clean(self) -> Pipes:
        """The pipes without any flaw."""
        flaws = self.flaws
        local = (flaws.spills[0] + flaws.arrays[0], flaws.spills[1] + flaws.arrays[1])
        return self.pipes.without(
            lines=flaws.uncoalesced[0] + flaws.conflicts + local[0] + flaws.atomics,
            sectors=flaws.uncoalesced[1] + local[1],
        )
