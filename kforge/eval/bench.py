"""The bench stage: candidate and baseline alternate, sample by sample, on the same fresh values.

The clock is the verifier's: wall time from before a runner moves until it has replied, less the floor of an
empty request, which is measured where no candidate code runs. What the device says of its own time is a
diagnostic only. Every run is looked at; some are verified in full.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from kforge.clock import Clock
from kforge.eval.arena import Slot
from kforge.eval.contender import Contender, write_given
from kforge.eval.inputs import TRIALS
from kforge.eval.interference import BusyOthers
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage, Stop
from kforge.eval.runner_client import RunnerClient, Sample
from kforge.eval.samples import summarise, verdict
from kforge.eval.standstill import Standstill
from kforge.eval.stopping import ratio
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Precision, Unstable, Verdict, WorkloadResult

# Subtracting the floor from a very short sample must leave something to divide by.
SHORTEST_SAMPLE_US = 0.05


class BaselineRunner:
    """Eager's process, or whatever is timed beside a candidate, with the places of its values.

    It is trusted, so it need not stand still: it is timed as PyTorch runs when left alone, the harder
    baseline.

    Args:
        client: loaded; it answers ``prepare``, ``go`` and ``noop``.
        slots: where the given values lie in its arena.
    """

    def __init__(self, client: RunnerClient, slots: Sequence[Slot]) -> None:
        self.client = client
        self._slots = slots

    def give(self, values: Sequence[Tensor], limits: Protocol) -> None:
        """Have this sample's values where they are used, and caches disturbed."""
        write_given(self.client.arena, self._slots, values)
        self.client.prepare(0, limits.copy_limit_s)

    def go(self, clock: Clock, limits: Protocol) -> Sample:
        """One timed run."""
        return self.client.go(clock, limits.baseline_limit_s)

    def floor_us(self, clock: Clock, limits: Protocol) -> float:
        """An empty request, the least of several: what others did to some they did not do to every sample."""
        asked = range(limits.floor_samples)
        return min(self.client.noop(clock, limits.baseline_limit_s).wall_us for _ in asked)

    def still_floor_us(self, clock: Clock, limits: Protocol) -> float:
        """The same for a runner that starts from a standstill, measured where no candidate code ever ran."""
        stop = Standstill(self.client, os.cpu_count() or 1, charged=False)
        stop.halt()
        try:
            asked = range(limits.floor_samples)
            return min(stop.noop(clock, limits.baseline_limit_s).wall_us for _ in asked)
        finally:
            stop.release()


@dataclass(slots=True)
class _Timings:
    candidate_us: list[float] = field(default_factory=list)
    baseline_us: list[float] = field(default_factory=list)
    device_us: list[float] = field(default_factory=list)
    kept: list[tuple[Draw, list[Tensor]]] = field(default_factory=list)


class Benchmark:
    """Times one checked candidate on one workload.

    Args:
        flush_bytes: read and written before every sample, more than the last-level cache holds.
    """

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
        flush_bytes: int,
    ) -> None:
        self._on_cpu = on_cpu
        self._bench, self._contender, self._baseline = bench, contender, baseline
        self._clock, self._protocol, self._secret = clock, protocol, secret
        self._stage = Stage(bench.spec.name, "bench", protocol)
        self._timings = _Timings()
        self._flush = np.zeros(flush_bytes if protocol.has("flush") else 0, dtype=np.uint8)
        self._first: Draw | None = None

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
        floors = self._floors()
        self._contender.client.close()
        worst, kb = checked
        for position, (draw, outputs) in enumerate(self._timings.kept):
            self._stage.trial = position
            found = self._stage.require_correct(self._bench, outputs, draw, precision)
            if found is not None:
                worst, kb = max(worst, found[0]), kb and found[1]
        return self._result(floors, worst, kb, busy_others)

    def _floors(self) -> tuple[float, float]:
        """What an empty request costs a candidate, and the baseline."""
        baseline_us = self._baseline.floor_us(self._clock, self._protocol)
        if not self._protocol.has("trusted_floor"):
            with self._stage:
                asked = range(self._protocol.floor_samples)
                own = [self._contender.noop(self._clock, self._protocol).wall_us for _ in asked]
            return summarise(own).median_us, baseline_us
        if not self._contender.stands_still:
            return baseline_us, baseline_us
        return self._baseline.still_floor_us(self._clock, self._protocol), baseline_us

    def _warm_up(self) -> None:
        started, runs = self._clock.monotonic(), 0
        limit_us = self._protocol.warm_up_us
        while runs < self._protocol.warm_up_runs or (self._clock.monotonic() - started) * 1e6 < limit_us:
            draw = self._draw()
            self._baseline_run(draw)
            self._candidate_run(draw)
            runs += 1

    def _draw(self) -> Draw:
        """Values of a run: nothing in them was ever seen by the candidate."""
        draw = self._bench.draw("own")
        self._first = self._first or draw
        if not self._protocol.has("fresh_values"):
            draw = replace(draw, inputs=self._first.inputs)
        return draw

    def _sample(self) -> None:
        deadline = self._clock.monotonic() + self._protocol.bench_budget_s
        while not self._enough(deadline):
            draw = self._draw()
            self._stage.trial = len(self._timings.candidate_us)
            # The order alternates, so that neither side always runs on the caches the other left.
            if len(self._timings.candidate_us) % 2:
                sample = self._candidate_run(draw)
                self._timings.baseline_us.append(self._baseline_run(draw).wall_us)
            else:
                self._timings.baseline_us.append(self._baseline_run(draw).wall_us)
                sample = self._candidate_run(draw)
            by_us = sample.wall_us if self._protocol.has("verifier_clock") else sample.device_us
            self._timings.candidate_us.append(by_us)
            self._timings.device_us.append(sample.device_us)
            self._keep(draw)

    def _enough(self, deadline: float) -> bool:
        n, rule = len(self._timings.candidate_us), self._protocol.rule
        if n >= rule.least and (n >= rule.most or self._clock.monotonic() > deadline):
            return True
        # The floors are not known yet; they are small beside whatever gets a verdict.
        return rule.looks_at(n) and rule.settled(
            [ratio(self._timings.baseline_us, self._timings.candidate_us)]
        )

    def _baseline_run(self, draw: Draw) -> Sample:
        self._baseline.give(draw.given(self._bench.state_names), self._protocol)
        with self._contender.resting():
            return self._baseline.go(self._clock, self._protocol)

    def _candidate_run(self, draw: Draw) -> Sample:
        """One run, and a look at what it left; its outputs stay where they are until the next."""
        given = draw.given(self._bench.state_names)
        with self._stage:
            self._contender.offer(given, self._secret.choice(POISONS), self._protocol)
            self._flush += 1
            sample = self._contender.go(self._clock, self._protocol)
            self._contender.collect(self._protocol)
        self._stage.require_undamaged(self._contender, given)
        if self._protocol.has("probes"):
            self._stage.require_plausible(self._bench, self._contender.outputs(), draw)
        return sample

    def _keep(self, draw: Draw) -> None:
        """Reservoir sampling: whether this sample is verified is decided only now that it has run."""
        n, wanted = len(self._timings.candidate_us), self._protocol.verified_samples
        place = n - 1 if n <= wanted else self._secret.randrange(n)
        if place < wanted and self._protocol.has("timed_outputs"):
            self._timings.kept[place : place + 1] = [(draw, self._contender.snapshot())]

    def _result(
        self, floors: tuple[float, float], worst: float, kb: bool, busy_others: float | None
    ) -> WorkloadResult:
        floor_us, baseline_floor_us = floors
        candidate = [max(t - floor_us, SHORTEST_SAMPLE_US) for t in self._timings.candidate_us]
        baseline = [max(t - baseline_floor_us, SHORTEST_SAMPLE_US) for t in self._timings.baseline_us]
        found = ratio(baseline, candidate)
        speedup, low, high = found.speedup, found.low, found.high
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
