"""The bench stage on a CUDA device: candidate, eager and torch.compile alternate on the same fresh values.

The time is the device's, between events, everything enqueued ahead, L2 flushed and persisting lines reset.
Device code can forge event times, so the verifier's own clock stands beside it: many runs in one request
against the same request with nothing in it. Where the two disagree the result is Suspect.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kforge.clock import Clock
from kforge.eval.contender_cuda import CudaClient, CudaContender
from kforge.eval.inputs import TRIALS
from kforge.eval.precision_policy import Policy, policy_of
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage, Stop
from kforge.eval.runner_client import RunnerRefused, Sample
from kforge.eval.samples import summarise, verdict
from kforge.eval.stopping import ratio
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Precision, Suspect, Unstable, WorkloadResult

MAX_LATE = 20
# Events count in steps of the card's timer: 32 ns were seen on an H100.
TICK_US = 0.032
# A verifier's wall time per run may differ from the events' by this share and these microseconds.
WALL_SHARE, WALL_SLACK_US = 0.2, 4.0
WITNESS_US = 20_000.0
WITNESS_RUNS = (4, 100)
WITNESS_TRIES = 3
PENDING_STEPS = 500
BASELINE_TRIES = 3


@dataclass(slots=True)
class CudaBaseline:
    """The baselines' process.

    Attributes:
        places: where each given value lies, as typed views of its memory, made at the first ``give``.
        compiled: whether torch.compile works under a policy, for those that were tried.
        loaded: whether the process has said that it is ready.
    """

    client: CudaClient
    slots: Sequence[tuple[int, int]]
    compiled: dict[Policy, bool] = field(default_factory=dict)
    loaded: bool = False

    def give(self, values: Sequence[Tensor]) -> None:
        """Write this sample's values."""
        for (offset, size), value in zip(self.slots, values, strict=True):
            if value.numel():
                flat = self.client.bytes[offset : offset + size].view(value.dtype)
                flat.as_strided(value.shape, value.stride(), flat.storage_offset()).copy_(value)

    def choose(self, what: str, policy: Policy, limit_s: float, *, warm: bool) -> None:
        """Say what the next ``go`` runs."""
        self.client.ask({"do": "choose", "what": what, "policy": policy, "warm": warm}, limit_s)

    def rest(self, limit_s: float) -> None:
        """Give back the memory that torch only keeps for speed: truths and checks need it."""
        self.client.ask({"do": "rest"}, limit_s)

    def compile(self, policy: Policy, limit_s: float) -> bool:
        """Whether torch.compile works for this module under a policy; compiles at the first call."""
        if policy not in self.compiled:
            try:
                self.choose("compiled", policy, limit_s, warm=True)
                self.compiled[policy] = True
            except RunnerRefused:
                self.compiled[policy] = False
        return self.compiled[policy]


class CudaBenchmark:
    """Times one checked candidate on one workload.

    Args:
        least_us: what no run can beat (``physics.least_us``).
    """

    def __init__(
        self,
        bench: Workbench,
        contender: CudaContender,
        baseline: CudaBaseline,
        *,
        clock: Clock,
        protocol: Protocol,
        secret: random.Random,
        least_us: float,
    ) -> None:
        self._least_us = least_us
        self._bench, self._contender, self._baseline = bench, contender, baseline
        self._clock, self._protocol, self._secret = clock, protocol, secret
        self._stage = Stage(bench.spec.name, "bench", protocol)
        self._candidate_us: list[float] = []
        self._baseline_us: dict[str, list[float]] = {"eager": []}
        self._checked = 0
        self._worst, self._kb = 0.0, True
        self._first: Draw | None = None

    def run(self, precision: Precision, checked: tuple[float, bool]) -> WorkloadResult:
        """Sample; outputs of secretly chosen samples are verified; then the wall clock is the witness.

        Args:
            precision: the candidate's declared precision, which is also the baselines' policy.
            checked: worst error and KernelBench verdict of the check stage.

        Raises:
            Stop: a timed output was wrong, the runner failed, the clocks disagree, or nothing settled.
        """
        self._policy = policy_of(precision)
        self._worst, self._kb = checked
        self._warm_up()
        self._sample(precision)
        floor_us = self._floor_us()
        self._require_possible(floor_us)
        wall_us = self._witness(precision)
        return self._result(floor_us, wall_us)

    def _warm_up(self) -> None:
        draw = self._draw()
        given = draw.given(self._bench.state_names)
        limit_s = self._protocol.baseline_limit_s
        self._baseline.give(given)
        torch.cuda.synchronize()
        self._baseline.choose("eager", self._policy, limit_s, warm=True)
        if self._baseline.compile(self._policy, limit_s):
            self._baseline_us["compiled"] = []
        with self._stage:
            self._contender.prepare(given, POISONS[0])
            spent_us, runs = 0.0, 0
            while runs < self._protocol.warm_up_runs or spent_us < self._protocol.warm_up_us:
                spent_us += self._go().wall_us
                runs += 1
        self._look(draw)

    def _draw(self) -> Draw:
        """New values for one run, inputs and parameters."""
        draw = self._bench.draw("own")
        first = self._first = self._first or draw
        return draw if self._protocol.has("fresh_values") else first

    def _look(self, draw: Draw) -> None:
        """Secret rows of whatever the last run left, timed or not."""
        if self._protocol.has("probes"):
            with self._stage:
                self._contender.collect(self._protocol)
            self._stage.require_plausible(self._bench, self._contender.views(), draw)

    def _floor_us(self) -> float:
        """Two events with nothing between them. The least of several: the host is late now and then."""
        with self._stage:
            return min(
                self._contender.client.noop(self._clock, self._stage.run_limit_s).device_us
                for _ in range(self._protocol.floor_samples)
            )

    def _go(self) -> Sample:
        return self._contender.client.go(self._clock, self._stage.run_limit_s)

    def _sample(self, precision: Precision) -> None:
        wanted = self._protocol.verified_samples
        first = set(self._secret.sample(range(self._protocol.min_samples), wanted))
        deadline, late = self._clock.monotonic() + self._protocol.bench_budget_s, 0
        while not self._enough(deadline):
            number = len(self._candidate_us)
            self._stage.trial = number
            # Later samples may be verified too, ever more rarely, so that no number of runs makes one safe.
            verify = number in first or (
                number >= self._protocol.min_samples and self._secret.random() < wanted / number
            )
            if not self._take(precision, verify=verify):
                late += 1
                self._require_ahead(late)

    def _take(self, precision: Precision, *, verify: bool) -> bool:
        """One sample of everything on fresh values; returns whether it counts."""
        draw = self._draw()
        given = draw.given(self._bench.state_names)
        with self._stage:
            self._contender.prepare(given, self._secret.choice(POISONS))
        self._baseline.give(given)
        torch.cuda.synchronize()
        # The order alternates, so that neither side always runs on the clocks the other left.
        first = len(self._candidate_us) % 2 == 1
        times = self._baseline_samples() if first else {}
        with self._stage:
            sample = self._go()
        self._look(draw)
        if not sample.ahead:
            return False
        times = times or self._baseline_samples()
        self._candidate_us.append(sample.device_us)
        for name, us in times.items():
            self._baseline_us[name].append(us)
        if verify:
            self._verify(draw, given, precision)
            for name in self._baseline_us:
                self._baseline.choose(name, self._policy, self._protocol.baseline_limit_s, warm=True)
        return True

    def _verify(self, draw: Draw, given: Sequence[Tensor], precision: Precision) -> None:
        """Judge the last run's outputs. The reference lives in this process and context only."""
        if not self._protocol.has("timed_outputs"):
            return
        outputs = self._outputs(given)
        self._baseline.rest(self._protocol.baseline_limit_s)
        found = self._stage.require_correct(self._bench, outputs, draw, precision)
        if found is not None:
            self._worst, self._kb = max(self._worst, found[0]), self._kb and found[1]
            self._checked += 1
        del outputs
        torch.cuda.empty_cache()

    def _outputs(self, given: Sequence[Tensor]) -> list[Tensor]:
        with self._stage:
            self._contender.collect(self._protocol)
        self._stage.require_undamaged(self._contender, given)
        return self._contender.snapshot()

    def _require_ahead(self, late: int) -> None:
        if late > MAX_LATE:
            raise Stop(
                Unstable(
                    f"{late} samples were discarded because the host could not enqueue the plan ahead of the "
                    "device: launch fewer kernels",
                    1.0,
                )
            )

    def _baseline_samples(self) -> dict[str, float]:
        """One time of each baseline. What its host cannot enqueue ahead is its own cost, after some tries."""
        times: dict[str, float] = {}
        for name in self._baseline_us:
            self._baseline.choose(name, self._policy, self._protocol.baseline_limit_s, warm=False)
            for _ in range(BASELINE_TRIES):
                sample = self._baseline.client.go(self._clock, self._protocol.baseline_limit_s)
                times[name] = sample.device_us
                if sample.ahead:
                    break
        return times

    def _enough(self, deadline: float) -> bool:
        n, rule = len(self._candidate_us), self._protocol.rule
        if n >= rule.least and (n >= rule.most or self._clock.monotonic() > deadline):
            return True
        return rule.looks_at(n) and rule.settled(
            [ratio(times, self._candidate_us, tick_us=TICK_US) for times in self._baseline_us.values()]
        )

    # ------------------------------------------------------------------------------------- witness

    def _require_possible(self, floor_us: float) -> None:
        """No run takes less than two events with nothing between them, or than its bytes need."""
        least = min(self._candidate_us)
        if not self._protocol.has("physics"):
            return
        median_us = summarise(self._candidate_us).median_us
        if median_us < self._least_us:
            raise Stop(
                Suspect(
                    f"{median_us:.1f} us is less than the {self._least_us:.1f} us that this card needs to "
                    "read the inputs once and to write the outputs",
                    f"events {median_us:.3f} us, bytes {self._least_us:.3f} us",
                )
            )
        if least <= 0.0 or summarise(self._candidate_us).median_us < floor_us:
            raise Stop(
                Suspect(
                    f"the device's clock says {least:.3f} us for the plan and {floor_us:.3f} us for nothing",
                    f"events {least:.3f} us, floor {floor_us:.3f} us",
                )
            )

    def _witness(self, precision: Precision) -> float:
        """Wall microseconds per run by our own clock; the last run's outputs are verified.

        Raises:
            Stop: Suspect, where the events claim much less; Unstable, where the wall saw much less; or what
                the last run left was wrong.
        """
        device_us = summarise(self._candidate_us).median_us
        draw = self._draw()
        given = draw.given(self._bench.state_names)
        with self._stage:
            self._contender.prepare(given, self._secret.choice(POISONS))
        wall_us = self._wall(device_us)
        self._verify(draw, given, precision)
        return wall_us

    def _wall(self, device_us: float) -> float:
        low, high = WITNESS_RUNS
        if device_us > WITNESS_US:
            low = 1
        pending = max(1, PENDING_STEPS // self._contender.burst_steps)
        runs = min(max(low, min(high, int(WITNESS_US / max(device_us, 1.0)))), pending)
        for _ in range(WITNESS_TRIES):
            wall_us = self._slope(runs)
            # A wall that is too short proves nothing either: a witness who saw too little is heard again.
            agree = abs(wall_us - device_us) <= device_us * WALL_SHARE + WALL_SLACK_US
            if agree or not self._protocol.has("verifier_clock"):
                return wall_us
        clocks = (
            f"the device's clock says {device_us:.1f} us, the verifier's {wall_us:.1f} us per run "
            f"over {runs} runs"
        )
        if wall_us > device_us:
            raise Stop(Suspect(clocks, f"events {device_us:.3f} us, wall {wall_us:.3f} us"))
        raise Stop(Unstable(clocks, 1.0 - wall_us / device_us))

    def _slope(self, runs: int) -> float:
        self._burst(1, empty=True)  # what the first burst of a process costs is in neither side
        nothing_s = self._burst(runs, empty=True)
        # Last, because what it leaves is verified.
        return (self._burst(runs, empty=False) - nothing_s) * 1e6 / runs

    def _burst(self, runs: int, *, empty: bool) -> float:
        """Seconds of the verifier's clock; memory that kernels may write is poisoned before each run."""
        started = self._clock.monotonic()
        request = {"do": "burst", "runs": runs, "empty": empty, "poison": self._secret.choice(POISONS)}
        with self._stage:
            # Runs are so many as take milliseconds: a burst that needs longer than one run may is as endless.
            self._contender.client.ask(request, self._stage.run_limit_s)
        return self._clock.monotonic() - started

    # -------------------------------------------------------------------------------------- result

    def _result(self, floor_us: float, wall_us: float) -> WorkloadResult:
        candidate = self._candidate_us
        found = ratio(self._baseline_us["eager"], candidate, tick_us=TICK_US)
        speedup, low, high = found.speedup, found.low, found.high
        stats = summarise(candidate)
        if high - low > self._protocol.unstable_width * speedup:
            reason = f"after {stats.n} samples the speedup is only known to lie in {low:.2f}..{high:.2f}"
            raise Stop(Unstable(reason, stats.noise))
        compiled = self._baseline_us.get("compiled")
        against = ratio(compiled, candidate, tick_us=TICK_US) if compiled else None
        return WorkloadResult(
            workload=self._bench.spec.name,
            candidate=stats,
            baseline=summarise(self._baseline_us["eager"]),
            floor_us=floor_us,
            device_us=stats.median_us,
            speedup=speedup,
            speedup_low=low,
            speedup_high=high,
            # The clock's floor is in both times, so it pulls a ratio towards 1 and flatters nobody.
            verdict=verdict(low, high, 0.0, stats.median_us),
            trials=len(TRIALS),
            timed_outputs_checked=self._checked,
            max_error=self._worst,
            kb_correct=self._kb,
            wall_us=wall_us,
            compiled=summarise(compiled) if compiled else None,
            compiled_speedup=(against.speedup, against.low, against.high) if against else None,
        )
