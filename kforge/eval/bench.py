"""The bench stage: candidate and baseline alternate, sample by sample, on the same fresh values.

The clock is the verifier's: wall time from request to reply, less the floor of an empty request. What the
device says of its own time is a diagnostic only.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from kforge.clock import Clock
from kforge.eval.arena import Slot
from kforge.eval.contender import Contender, write_given
from kforge.eval.inputs import TRIALS
from kforge.eval.interference import BusyOthers
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage, Stop
from kforge.eval.runner_client import RunnerClient
from kforge.eval.samples import ratio_interval, summarise, verdict
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Precision, Unstable, Verdict, WorkloadResult

# Subtracting the floor from a very short sample must leave something to divide by.
SHORTEST_SAMPLE_US = 0.05


@dataclass(frozen=True, slots=True)
class BaselineRunner:
    """The baseline's process and where its values go."""

    client: RunnerClient
    slots: tuple[Slot, ...]

    def give(self, values: Sequence[Tensor]) -> None:
        """Write this sample's values."""
        write_given(self.client.arena, self.slots, values)


@dataclass(slots=True)
class _Timings:
    candidate_us: list[float] = field(default_factory=list)
    baseline_us: list[float] = field(default_factory=list)
    device_us: list[float] = field(default_factory=list)
    kept: list[tuple[Draw, list[Tensor]]] = field(default_factory=list)


class Benchmark:
    """Times one checked candidate on one workload."""

    def __init__(
        self,
        bench: Workbench,
        contender: Contender,
        baseline: BaselineRunner,
        *,
        on_cpu: bool,
        clock: Clock,
        protocol: Protocol,
        secret: random.Random,
    ) -> None:
        self._on_cpu = on_cpu
        self._bench, self._contender, self._baseline = bench, contender, baseline
        self._clock, self._protocol, self._secret = clock, protocol, secret
        self._stage = Stage(bench.spec.name, "bench", protocol)
        self._timings = _Timings()

    def run(self, precision: Precision, checked: tuple[float, bool]) -> WorkloadResult:
        """Sample, then verify the outputs of secretly chosen samples once the candidate is gone.

        Args:
            precision: the candidate's declared precision.
            checked: worst error and KernelBench verdict of the check stage.

        Raises:
            Stop: a timed output was wrong, the runner failed, or the samples say nothing.
        """
        self._warm_up()
        others = BusyOthers((os.getpid(), self._contender.client.pid, self._baseline.client.pid))
        self._sample()
        busy_others = others.share()
        floor_us, baseline_floor_us = self._floors()
        self._contender.client.close()
        worst, kb = checked
        for position, (draw, outputs) in enumerate(self._timings.kept):
            self._stage.trial = position
            found = self._stage.require_correct(self._bench, outputs, draw, precision)
            if found is not None:
                worst, kb = max(worst, found[0]), kb and found[1]
        return self._result(floor_us, baseline_floor_us, worst, kb, busy_others)

    def _warm_up(self) -> None:
        draw = self._bench.draw("own")
        self._give_both(draw)
        with self._stage:
            self._contender.client.prepare(POISONS[0], self._protocol.copy_limit_s)
        self._baseline.client.prepare(0, self._protocol.copy_limit_s)
        spent_us, runs = 0.0, 0
        while runs < self._protocol.warm_up_runs or spent_us < self._protocol.warm_up_us:
            with self._stage:
                spent_us += self._contender.client.go(self._clock, self._stage.run_limit_s).wall_us
            self._baseline.client.go(self._clock, self._protocol.baseline_limit_s)
            runs += 1

    def _give_both(self, draw: Draw) -> list[Tensor]:
        given = draw.given(self._bench.state_names)
        self._contender.give(given)
        self._baseline.give(given)
        return given

    def _sample(self) -> None:
        deadline = self._clock.monotonic() + self._protocol.bench_budget_s
        while not self._enough(deadline):
            draw = self._bench.draw("own")
            given = self._give_both(draw)
            # The order alternates, so that neither side always runs on the caches the other left.
            if len(self._timings.candidate_us) % 2:
                self._candidate_sample(draw, given)
                self._baseline_sample()
            else:
                self._baseline_sample()
                self._candidate_sample(draw, given)

    def _enough(self, deadline: float) -> bool:
        n = len(self._timings.candidate_us)
        if n < self._protocol.min_samples:
            return False
        if n >= self._protocol.max_samples or self._clock.monotonic() > deadline:
            return True
        stats = summarise(self._timings.candidate_us)
        return (stats.ci_high_us - stats.ci_low_us) / 2 < self._protocol.ci_target * stats.median_us

    def _baseline_sample(self) -> None:
        self._baseline.client.prepare(0, self._protocol.copy_limit_s)
        # Threads that the candidate left spinning would slow the baseline, and so flatter the candidate.
        with self._contender.client.paused():
            sample = self._baseline.client.go(self._clock, self._protocol.baseline_limit_s)
        self._timings.baseline_us.append(sample.wall_us)

    def _candidate_sample(self, draw: Draw, given: list[Tensor]) -> None:
        client, timings = self._contender.client, self._timings
        with self._stage:
            client.prepare(self._secret.choice(POISONS), self._protocol.copy_limit_s)
            sample = client.go(self._clock, self._stage.run_limit_s)
        timings.candidate_us.append(sample.wall_us)
        timings.device_us.append(sample.device_us)
        # Reservoir sampling: whether this sample is verified is decided only now that it has run.
        n, wanted = len(timings.candidate_us), self._protocol.verified_samples
        self._stage.trial = n
        place = n - 1 if n <= wanted else self._secret.randrange(n)
        if place >= wanted:
            return
        with self._stage:
            client.export(self._protocol.copy_limit_s)
        self._stage.require_undamaged(self._contender, given)
        timings.kept[place : place + 1] = [(draw, self._contender.snapshot())]

    def _floors(self) -> tuple[float, float]:
        count = self._protocol.floor_samples
        with self._stage:
            candidate = [
                self._contender.client.noop(self._clock, self._stage.run_limit_s).wall_us
                for _ in range(count)
            ]
        limit_s = self._protocol.baseline_limit_s
        baseline = [self._baseline.client.noop(self._clock, limit_s).wall_us for _ in range(count)]
        return summarise(candidate).median_us, summarise(baseline).median_us

    def _result(
        self, floor_us: float, baseline_floor_us: float, worst: float, kb: bool, busy_others: float | None
    ) -> WorkloadResult:
        candidate = [max(t - floor_us, SHORTEST_SAMPLE_US) for t in self._timings.candidate_us]
        baseline = [max(t - baseline_floor_us, SHORTEST_SAMPLE_US) for t in self._timings.baseline_us]
        speedup, low, high = ratio_interval(baseline, candidate)
        stats = summarise(candidate)
        if high - low > self._protocol.unstable_width * speedup:
            reason = (
                f"after {stats.n} samples the speedup is only known to lie in {low:.2f}..{high:.2f}; "
                "the machine is busy, or the kernel's time varies from run to run"
            )
            raise Stop(Unstable(reason, stats.noise))
        return WorkloadResult(
            workload=self._bench.spec.name,
            candidate=stats,
            baseline=summarise(baseline),
            floor_us=floor_us,
            device_us=sorted(self._timings.device_us)[len(self._timings.device_us) // 2],
            speedup=speedup,
            speedup_low=low,
            speedup_high=high,
            verdict=self._verdict(low, high, floor_us, stats.median_us, busy_others),
            trials=len(TRIALS),
            timed_outputs_checked=len(self._timings.kept),
            max_error=worst,
            kb_correct=kb,
            busy_others=busy_others,
        )

    def _verdict(
        self, low: float, high: float, floor_us: float, candidate_us: float, busy_others: float | None
    ) -> Verdict:
        # Eager's thread team suffers more from a busy machine than one kernel does: no verdict then.
        if self._on_cpu and busy_others is not None and busy_others > self._protocol.quiet_share:
            return "AMBIGUOUS"
        return verdict(low, high, floor_us, candidate_us)
