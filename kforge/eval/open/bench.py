"""The bench stage of the open track: the verifier's wall time per call, over bursts of one-call requests.

Candidate, eager and the empty module answer the very same requests, a secret number of them in every burst.
Every call has new values at a secret place, its outputs are looked at, and some calls are verified in full,
chosen after they ran. A burst's time is the sum of its calls' windows: between them the candidate stands
still, so there is no constant part that a difference of two bursts would have to take away.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from kforge.clock import Clock
from kforge.eval.interference import BusyOthers
from kforge.eval.open.contender import OpenContender
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage, Stop
from kforge.eval.runner_client import Sample
from kforge.eval.samples import FLOOR_SHARE, summarise, words
from kforge.eval.stopping import Ratio, ratio
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Precision, Samples, Suspect, Unstable, Verdict, WorkloadResult

# Below this share of the floor a call's own time is not resolved.
RESOLVED = 0.1
# Eager may be so many times as slow beside a candidate as before it was there.
HINDERED = 1.25
SHORTEST_BURST, LONGEST_BURST = 1, 5


@dataclass(slots=True)
class _Bursts:
    """Wall microseconds per call, one of each per burst; and what the candidate claims, per call."""

    candidate_us: list[float] = field(default_factory=list)
    baseline_us: list[float] = field(default_factory=list)
    floor_us: list[float] = field(default_factory=list)
    claimed_us: list[float] = field(default_factory=list)


class OpenBenchmark:
    """Times one checked candidate on one workload.

    Args:
        trials: how many the check stage made.
        judged_by_cpu: other processes' use of the processors decides whether there is a verdict.
        alone_us: eager's times before the candidate was there, where its work goes on while it is stopped.
    """

    def __init__(
        self,
        bench: Workbench,
        contender: OpenContender,
        eager: OpenContender,
        *,
        clock: Clock,
        protocol: Protocol,
        secret: random.Random,
        trials: int,
        judged_by_cpu: bool,
        alone_us: Sequence[float] = (),
    ) -> None:
        self._bench, self._contender, self._eager = bench, contender, eager
        self._clock, self._protocol, self._secret = clock, protocol, secret
        self._trials, self._by_cpu, self._alone_us = trials, judged_by_cpu, alone_us
        self._stage = Stage(bench.spec.name, "bench", protocol)
        self._bursts = _Bursts()
        self._kept: list[tuple[Draw, list[Tensor]]] = []
        self._calls = 0
        self._first: Draw | None = None

    def run(self, precision: Precision, checked: tuple[float, bool]) -> WorkloadResult:
        """Sample, then verify kept outputs once the candidate is gone; raises ``Stop``."""
        others = BusyOthers((os.getpid(), self._contender.client.pid, self._eager.client.pid))
        self._warm_up()
        self._sample()
        busy = others.share()
        self._contender.close()
        self._require_unhindered()
        worst, kb = checked
        for position, (draw, outputs) in enumerate(self._kept):
            self._stage.trial = position
            found = self._stage.require_correct(self._bench, outputs, draw, precision)
            if found is not None:
                worst, kb = max(worst, found[0]), kb and found[1]
        return self._result(worst, kb, busy)

    def _require_unhindered(self) -> None:
        """Raises ``Stop`` where eager was slower beside the candidate than before it."""
        if not self._alone_us or not self._protocol.has("paused_candidate"):
            return
        found = hindered(self._alone_us, self._bursts.baseline_us)
        if found is not None:
            raise Stop(found)

    def _warm_up(self) -> None:
        started, calls = self._clock.monotonic(), 0
        limit_us = self._protocol.warm_up_us
        while calls < self._protocol.warm_up_runs or (self._clock.monotonic() - started) * 1e6 < limit_us:
            draw = self._draw()
            self._trusted_call(draw)
            self._candidate_call(draw)
            calls += 1

    def _draw(self) -> Draw:
        draw = self._bench.draw("own")
        self._first = self._first or draw
        return draw if self._protocol.has("fresh_values") else self._first

    def _sample(self) -> None:
        deadline = self._clock.monotonic() + self._protocol.bench_budget_s
        while not self._enough(deadline):
            n = self._secret.randint(SHORTEST_BURST, LONGEST_BURST)
            sides = (self._bursts.candidate_us, self._bursts.baseline_us, self._bursts.floor_us)
            for side, total_us in zip(sides, self._burst(n), strict=True):
                side.append(total_us / n)

    def _burst(self, n: int) -> tuple[float, float, float]:
        """Wall microseconds of n calls each of candidate, eager and the empty module, on the same values."""
        total = [0.0, 0.0, 0.0]
        calls: list[tuple[int, Callable[[Draw], float]]] = [
            (0, self._candidate_call),
            (1, lambda draw: self._trusted_call(draw).wall_us),
            (2, self._floor_call),
        ]
        for position in range(n):
            draw = self._draw()
            # The order alternates, so that nobody always runs on the caches another left.
            for side, call in calls if position % 2 else reversed(calls):
                total[side] += call(draw)
        return total[0], total[1], total[2]

    def _enough(self, deadline: float) -> bool:
        n, rule = len(self._bursts.candidate_us), self._protocol.rule
        if n >= rule.least and (n >= rule.most or self._clock.monotonic() > deadline):
            return True
        return rule.looks_at(n) and rule.settled([self._ratio()])

    def _ratio(self) -> Ratio:
        bursts = self._bursts
        return floored_ratio(bursts.baseline_us, bursts.candidate_us, min(bursts.floor_us))

    def _trusted_call(self, draw: Draw) -> Sample:
        self._eager.offer(draw.given([]), self._secret.choice(POISONS))
        return self._eager.go(self._clock, self._protocol.baseline_limit_s)

    def _floor_call(self, draw: Draw) -> float:
        self._eager.offer(draw.given([]), self._secret.choice(POISONS))
        return self._eager.noop(self._clock, self._protocol.baseline_limit_s).wall_us

    def _candidate_call(self, draw: Draw) -> float:
        """One call, and a look at what it left; its outputs stay until the next."""
        given = draw.given([])
        self._stage.trial = self._calls
        with self._stage:
            self._contender.offer(given, self._secret.choice(POISONS))
            sample = self._contender.go(self._clock, self._protocol.run_limit_s)
        self._stage.require_undamaged(self._contender, given)
        if self._protocol.has("probes"):
            self._stage.require_plausible(self._bench, self._contender.outputs(), draw)
        self._bursts.claimed_us.append(sample.device_us)
        self._keep(draw)
        return sample.wall_us if self._protocol.has("verifier_clock") else sample.device_us

    def _keep(self, draw: Draw) -> None:
        """Reservoir sampling: whether a call is verified is decided only now that it has run."""
        self._calls += 1
        wanted = self._protocol.verified_samples
        place = self._calls - 1 if self._calls <= wanted else self._secret.randrange(self._calls)
        if place < wanted and self._protocol.has("timed_outputs"):
            self._kept[place : place + 1] = [(draw, self._contender.snapshot())]

    def _result(self, worst: float, kb: bool, busy: float | None) -> WorkloadResult:
        bursts = self._bursts
        # The least: what other processes did to some of the empty calls they did not do to every call.
        floor = min(bursts.floor_us)
        found = self._ratio()
        speedup, low, high = found.speedup, found.low, found.high
        stats, base = (
            summarise(above_floor(times, floor)) for times in (bursts.candidate_us, bursts.baseline_us)
        )
        # Where the floor is as large as the call, the verdict is ambiguous anyway.
        too_wide = high - low > self._protocol.unstable_width * speedup
        if too_wide and floor <= FLOOR_SHARE * stats.median_us:
            reason = (
                f"after {stats.n} bursts the speedup is only known to lie in {low:.2f}..{high:.2f}; "
                "the machine is busy, or the candidate's time varies from call to call"
            )
            raise Stop(Unstable(reason, stats.noise))
        disturbed = self._by_cpu and busy is not None and busy > self._protocol.quiet_share
        claimed = sorted(bursts.claimed_us)
        return WorkloadResult(
            workload=self._bench.spec.name,
            candidate=stats,
            baseline=base,
            floor_us=floor,
            device_us=claimed[len(claimed) // 2],
            speedup=speedup,
            speedup_low=low,
            speedup_high=high,
            verdict="AMBIGUOUS" if disturbed else self._verdict((low, high), floor, stats, base),
            trials=self._trials,
            timed_outputs_checked=len(self._kept),
            max_error=worst,
            kb_correct=kb,
            busy_others=busy,
        )

    def _verdict(
        self, interval: tuple[float, float], floor_us: float, candidate: Samples, baseline: Samples
    ) -> Verdict:
        low, high = interval
        found = words(low, high)
        if found == "SAME":
            resolved = floor_us <= FLOOR_SHARE * candidate.median_us
        else:
            resolved = floor_us <= FLOOR_SHARE * abs(baseline.median_us - candidate.median_us)
        return found if resolved else "AMBIGUOUS"


def hindered(alone_us: Sequence[float], beside_us: Sequence[float]) -> Suspect | None:
    """Whether what a candidate left running on the card slowed eager down.

    A card whose clocks fall under load slows both sides by a few percent; work that goes on beside eager's
    halves its share.
    """
    before, beside = summarise(alone_us), summarise(beside_us)
    if beside.median_us <= HINDERED * before.median_us:
        return None
    reason = (
        f"eager took {beside.median_us:.1f} us beside the candidate and {before.median_us:.1f} us before it "
        "was there: something of the candidate's goes on between its calls"
    )
    return Suspect(reason, f"n {before.n} and {beside.n}")


def above_floor(times_us: Sequence[float], floor_us: float) -> list[float]:
    """Times less the floor; what is not resolved is a tenth of it, not nothing."""
    return [max(t - floor_us, RESOLVED * floor_us) for t in times_us]


def floored_ratio(baseline_us: Sequence[float], candidate_us: Sequence[float], floor_us: float) -> Ratio:
    """The speedup from bursts, of times less the floor."""
    return ratio(above_floor(baseline_us, floor_us), above_floor(candidate_us, floor_us))
