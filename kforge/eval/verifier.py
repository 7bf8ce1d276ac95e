"""Check and bench of one built candidate. Holds reference, seeds and clock; runs no candidate code.

Per workload: a disposable runner for the candidate and one process for the baseline. Check: trials from
secret seeds, outputs poisoned, guard zones, inputs compared afterwards. Bench: candidate and baseline
alternate sample by sample on the same fresh values, timed from here, caches disturbed before every sample;
outputs of secretly chosen timed samples are verified after the runner is gone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kforge.clock import Clock
from kforge.data.tasks.loader import LoadedTask
from kforge.errors import InfraError
from kforge.eval.contender import Challenger
from kforge.eval.health import Health, fork_server_lost
from kforge.eval.protocol import Protocol
from kforge.eval.rejection import Stop
from kforge.eval.rig import RIGS, Instruments
from kforge.eval.runner_client import RunnerFailed
from kforge.eval.trials import Checked, run_trials
from kforge.eval.workbench import Workbench
from kforge.types import (
    Built,
    DeviceInfo,
    Passed,
    Precision,
    Rejected,
    TaskDescription,
    Verdict,
    WorkloadResult,
)


class Verifier:
    """Measures candidates of one task on one device.

    Args:
        loaded: the task, run only in this trusted process.
        description: its shapes.
        device: where candidates run.
        job: what every runner is told; its rig says what that must hold.
        clock: the verifier's own.
        seeds: secret seeds, fresh at every call.
        protocol: limits and sample counts.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        description: TaskDescription,
        device: DeviceInfo,
        *,
        job: Mapping[str, Any],
        clock: Clock,
        seeds: Callable[[], int],
        protocol: Protocol,
    ) -> None:
        self._instruments = Instruments(device, job, clock, protocol, random.Random(seeds()))
        self._rig = RIGS[device.language](self._instruments)
        self._health = Health(device, job, clock)
        self._benches = [
            Workbench(workload, spec, seeds, self._rig.torch_device, defences=protocol.defences)
            for workload, spec in zip(loaded.workloads, description.workloads, strict=True)
        ]
        for bench in self._benches:
            self._rig.begin(bench)

    def measure(
        self, built: Built, precision: Precision, on_stage: Callable[[str], None]
    ) -> Passed | Rejected:
        """Check every workload, then bench every workload.

        Args:
            built: module and plans.
            precision: the candidate's declared precision.
            on_stage: hears "check" and "bench" before each begins, and may wait.

        Raises:
            InfraError: the device did not survive the candidate before; baseline or fork server failed.
        """
        contenders: list[Challenger] = []
        outcome: Passed | Rejected
        try:
            on_stage("check")
            self._health.require()
            outcome = self._measured(built, precision, on_stage, contenders)
        except Stop as stop:
            outcome = stop.outcome
            if fork_server_lost():
                raise InfraError(
                    "The process that runners are forked from was killed, and the runner with it.",
                    "is this machine short of memory? see `dmesg | tail`",
                ) from stop
        except RunnerFailed as error:
            # The candidate's own are outcomes by now.
            raise InfraError(
                f"The baseline's process failed ({type(error).__name__}): {error}",
                "run the same command again",
            ) from error
        finally:
            for contender in contenders:
                contender.client.close()
        self._health.remember(outcome, [contender.client.pid for contender in contenders])
        return outcome

    def _measured(
        self,
        built: Built,
        precision: Precision,
        on_stage: Callable[[str], None],
        contenders: list[Challenger],
    ) -> Passed:
        tools = self._instruments
        checks: list[Checked] = []
        for bench in self._benches:
            contender = self._rig.start(built, bench.spec, precision)
            contenders.append(contender)
            checks.append(
                run_trials(
                    bench,
                    contender,
                    precision,
                    clock=tools.clock,
                    protocol=tools.protocol,
                    secret=tools.secret,
                )
            )
        for bench in self._benches:
            self._rig.ready(bench)
        on_stage("bench")
        return summed_up(
            [
                checked.told(
                    self._rig.benchmark(bench, contender, precision, (checked.max_error, checked.kb_correct))
                )
                for bench, contender, checked in zip(self._benches, contenders, checks, strict=True)
            ]
        )

    def close(self) -> None:
        """End the baseline processes."""
        self._rig.close()


def summed_up(results: Sequence[WorkloadResult]) -> Passed:
    """One outcome of all workloads."""

    def geomean(values: Sequence[float]) -> float:
        return math.exp(sum(math.log(v) for v in values) / len(values))

    verdicts = {r.verdict for r in results}
    overall: Verdict = verdicts.pop() if len(verdicts) == 1 else "AMBIGUOUS"
    return Passed(
        speedup=geomean([r.speedup for r in results]),
        speedup_low=geomean([r.speedup_low for r in results]),
        speedup_high=geomean([r.speedup_high for r in results]),
        latency_us=sum(r.candidate.median_us for r in results),
        baseline_us=sum(r.baseline.median_us for r in results),
        noise=max(r.candidate.noise for r in results),
        verdict=overall,
        max_error=max(r.max_error for r in results),
        kb_correct=all(r.kb_correct for r in results),
        workloads=tuple(results),
    )
