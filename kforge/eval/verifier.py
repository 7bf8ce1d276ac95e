"""Check and bench of one built candidate. Holds reference, seeds and clock; runs no candidate code.

Per workload: a disposable runner for the candidate and one process for the baseline. Check: trials from
secret seeds, outputs poisoned, guard zones, inputs compared afterwards. Bench: candidate and baseline
alternate sample by sample on the same fresh values, timed from here, caches disturbed before every sample;
outputs of secretly chosen timed samples are verified after the runner is gone.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import random
from collections.abc import Callable, Sequence
from typing import Any

from kforge.clock import Clock
from kforge.data.tasks.loader import LoadedTask
from kforge.eval import baseline
from kforge.eval.arena import lay_out
from kforge.eval.bench import BaselineRunner, Benchmark
from kforge.eval.contender import Contender, given_bytes
from kforge.eval.protocol import Protocol
from kforge.eval.rejection import Stop
from kforge.eval.runner_client import RunnerClient
from kforge.eval.trials import run_trials
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
    WorkloadSpec,
)


class Verifier:
    """Measures candidates of one task on one device.

    Args:
        loaded: the task, run only in this trusted process.
        description: its shapes.
        device: where candidates run.
        job: what every runner is told: shim, threads, flush_bytes, task, size, user_dir.
        clock: the only clock that scores.
        seeds: secret seeds, fresh at every call.
        protocol: limits and sample counts.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        description: TaskDescription,
        device: DeviceInfo,
        *,
        job: dict[str, Any],
        clock: Clock,
        seeds: Callable[[], int],
        protocol: Protocol,
    ) -> None:
        self._device, self._job, self._clock = device, job, clock
        self._protocol = protocol
        self._secret = random.Random(seeds())
        self._benches = [
            Workbench(workload, spec, seeds)
            for workload, spec in zip(loaded.workloads, description.workloads, strict=True)
        ]
        # Runners fork from a process that has torch loaded and has never seen a reference or a seed.
        self._warm = multiprocessing.get_context("forkserver")
        self._warm.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_sycl"])
        self._spawn = multiprocessing.get_context("spawn")
        self._baselines: dict[str, BaselineRunner] = {}

    def measure(
        self, built: Built, precision: Precision, on_stage: Callable[[str], None]
    ) -> Passed | Rejected:
        """Check every workload, then bench every workload.

        Args:
            built: module and plans.
            precision: the candidate's declared precision.
            on_stage: hears "check" and "bench" before each begins, and may wait.
        """
        contenders: list[Contender] = []
        try:
            on_stage("check")
            checks: list[tuple[float, bool]] = []
            for bench in self._benches:
                contender = self._start(built, bench.spec)
                contenders.append(contender)
                checks.append(run_trials(bench, contender, precision, **self._instruments()))
            baselines = [self._baseline(bench) for bench in self._benches]
            on_stage("bench")
            return _passed(
                [
                    Benchmark(bench, contender, eager, on_cpu=self._device.is_cpu, **self._instruments()).run(
                        precision, checked
                    )
                    for bench, contender, eager, checked in zip(
                        self._benches, contenders, baselines, checks, strict=True
                    )
                ]
            )
        except Stop as stop:
            return stop.outcome
        finally:
            for contender in contenders:
                contender.client.close()

    def close(self) -> None:
        """End the baseline processes."""
        for entry in self._baselines.values():
            entry.client.close()
        self._baselines.clear()

    def _instruments(self) -> dict[str, Any]:
        return {"clock": self._clock, "protocol": self._protocol, "secret": self._secret}

    def _start(self, built: Built, spec: WorkloadSpec) -> Contender:
        plan = json.loads(built.plans[spec.name])
        return Contender(self._warm, plan, built.module_path, self._device, self._job)

    def _baseline(self, bench: Workbench) -> BaselineRunner:
        name = bench.spec.name
        if name not in self._baselines:
            layout = lay_out(given_bytes(bench.draw("own").given(bench.state_names)), [], 0)
            job = {
                **self._job,
                "workload": name,
                "state_names": bench.state_names,
                "given": [[s.offset, s.size] for s in layout.given],
            }
            client = RunnerClient(self._spawn, baseline.run, job, layout.size)
            client.wait_loaded(self._protocol.load_limit_s)
            self._baselines[name] = BaselineRunner(client, layout.given)
        return self._baselines[name]


def _passed(results: Sequence[WorkloadResult]) -> Passed:
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
