"""Check and bench of an open candidate. Holds reference, input seeds and clock; runs no candidate code."""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kforge.clock import Clock
from kforge.data.tasks.loader import LoadedTask
from kforge.errors import InfraError, MissingPrerequisite
from kforge.eval.cuda_driver import CudaFailed, use_device
from kforge.eval.defences import DEFENCES
from kforge.eval.health import fork_server_lost
from kforge.eval.inputs import Distribution
from kforge.eval.open import child, control_group, eager
from kforge.eval.open.bench import OpenBenchmark
from kforge.eval.open.contender import OpenContender
from kforge.eval.open.layers import MEMORY_LIMIT_BYTES, PROCESSES
from kforge.eval.open.seeded import SeededBench
from kforge.eval.precision_policy import apply_policy
from kforge.eval.protocol import POISONS, Protocol
from kforge.eval.rejection import Stage, Stop
from kforge.eval.runner_client import RunnerDied, RunnerFailed, RunnerHung, RunnerRefused
from kforge.eval.scratch import scratch_directory
from kforge.eval.trials import Checked, run_trials
from kforge.eval.verifier import summed_up
from kforge.open_types import HostCpu, OpenDevice, OpenSource
from kforge.types import CheckFailed, Outcome, Rejected, TaskDescription, TimedOut, WorkloadResult

SEED_BITS = 31
# Of the machine's memory, at most, for all processes of a candidate.
MEMORY_SHARE = 0.75
# Trials with the second seed's weights: one whose values are the task's own, one of another kind.
SECOND_SEED_TRIALS: tuple[Distribution, ...] = ("own", "scaled")
# Namespaces that a card's driver may want shared before it maps memory from one process into another, and
# does not start without; given up in this order, and then named as missing.
SHARED_LAST = ("processes", "queues")


@dataclass(frozen=True, slots=True)
class OpenMeasured:
    """How it ended, which layers held, and which extensions it asked for in vain (JSON)."""

    outcome: Outcome
    sandbox: Mapping[str, bool]
    missing: tuple[str, ...] = ()


class _Missing(Exception):
    def __init__(self, calls: tuple[str, ...]) -> None:
        super().__init__()
        self.calls = calls


class OpenVerifier:
    """Measures open candidates of one task on one device.

    Args:
        loaded: the task, run only in trusted processes.
        description: its shapes.
        device: where candidates run.
        job: ``task``, ``size`` and ``user_dir``, from which the baseline loads the task.
        clock: the verifier's own.
        seeds: secret seeds, fresh at every call.
        protocol: limits, sample counts, defences.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        description: TaskDescription,
        device: OpenDevice,
        *,
        job: Mapping[str, Any],
        clock: Clock,
        seeds: Callable[[], int],
        protocol: Protocol,
    ) -> None:
        self._device, self._job, self._clock, self._protocol = device, job, clock, protocol
        self._seeds, self._secret = seeds, random.Random(seeds())
        self._threads = len(os.sched_getaffinity(0))
        self._index: int | None = None if isinstance(device, HostCpu) else int(job["device_index"])
        # What a candidate's process shares with this one; on a card the driver may insist.
        self._shared: tuple[str, ...] = ()
        self._torch_device = torch.device("cpu") if self._index is None else use_card(self._index)
        self._warm = multiprocessing.get_context("forkserver")
        # What candidates are forked from has loaded torch, and has never seen more than a job.
        self._warm.set_forkserver_preload(["torch", "numpy", child.__name__])
        self._spawn = multiprocessing.get_context("spawn")
        self._benches = [
            SeededBench(workload, spec, seeds, self._torch_device, defences=protocol.defences)
            for workload, spec in zip(loaded.workloads, description.workloads, strict=True)
        ]

    def measure(
        self,
        source: OpenSource,
        extensions: Mapping[str, str],
        on_stage: Callable[[str], None],
        *,
        require_sandbox: bool = False,
        readable: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> OpenMeasured:
        """Check every workload, then bench every workload.

        Args:
            source: the candidate.
            extensions: digest of an extension call to its shared object.
            on_stage: hears "check" and "bench" before each begins, and may wait.
            require_sandbox: refuse to run candidate code where a layer is missing.
            readable: further paths that the candidate's process may read and execute.
            variables: further variables of its environment; ``{scratch}`` in one is its directory.

        Raises:
            MissingPrerequisite: a layer is missing and was required.
            InfraError: something of kforge itself failed.
        """
        # The reference is computed in this process, as eager is in its own: never at torch's mixed default.
        apply_policy(source.precision)
        run = _Run(
            self, source, extensions,
            required=require_sandbox, readable=tuple(readable), variables=dict(variables or {}),
        )  # fmt: skip
        try:
            outcome: Outcome = run.measured(on_stage)
        except Stop as stop:
            outcome = stop.outcome
            if fork_server_lost():
                raise InfraError(
                    "The process that candidates are forked from was killed, and the candidate with it.",
                    "is this machine short of memory? see `dmesg | tail`",
                ) from stop
        except _Missing as missing:
            rejected = CheckFailed("it asks for an extension that was not built", "launch", "", 0)
            return OpenMeasured(rejected, run.sandbox, missing.calls)
        except RunnerFailed as error:
            raise InfraError(
                f"The baseline's process failed ({type(error).__name__}): {error}",
                "run the same command again",
            ) from error
        return OpenMeasured(outcome, run.sandbox)

    def share_more(self) -> bool:
        """Let candidates share one namespace more with this process; False when that cannot help."""
        if self._index is None or len(self._shared) == len(SHARED_LAST):
            return False
        self._shared = SHARED_LAST[: len(self._shared) + 1]
        return True


class _Run:
    """One candidate's evaluation."""

    def __init__(
        self,
        verifier: OpenVerifier,
        source: OpenSource,
        extensions: Mapping[str, str],
        *,
        required: bool,
        readable: tuple[str, ...],
        variables: Mapping[str, str],
    ) -> None:
        self._of, self._source, self._extensions = verifier, source, extensions
        self._required, self._readable, self._variables = required, readable, variables
        self.sandbox: dict[str, bool] = {}

    def measured(self, on_stage: Callable[[str], None]) -> Outcome:
        """Raises ``Stop`` when the candidate fails."""
        on_stage("check")
        checks = [self._check(bench) for bench in self._of._benches]
        results: list[WorkloadResult] = []
        on_stage("bench")
        for bench, checked in zip(self._of._benches, checks, strict=True):
            results.append(self._bench(bench, checked))
        return summed_up(results)

    def _check(self, bench: SeededBench) -> Checked:
        of = self._of
        with self._contender(bench, "check", self._reseeded(bench)) as contender:
            checked = run_trials(
                bench, contender, self._source.precision,
                clock=of._clock, protocol=of._protocol, secret=of._secret,
            )  # fmt: skip
        return checked

    def _bench(self, bench: SeededBench, checked: Checked) -> WorkloadResult:
        """In a process of its own, under another seed: what was right by heart is wrong there."""
        of = self._of
        seed = self._reseeded(bench)
        with self._eager(bench, seed) as baseline, contextlib.ExitStack() as later:
            alone_us = self._alone(bench, baseline)
            contender = later.enter_context(self._contender(bench, "bench", seed))
            worst, kb = checked.max_error, checked.kb_correct
            stage = Stage(bench.spec.name, "bench", of._protocol)
            for number, distribution in enumerate(SECOND_SEED_TRIALS):
                stage.trial = number
                draw = bench.draw(distribution)
                with stage:
                    contender.run_once(draw.given([]), of._secret.choice(POISONS), of._clock, of._protocol)
                stage.require_undamaged(contender, draw.given([]))
                found = stage.require_correct(bench, contender.snapshot(), draw, self._source.precision)
                if found is not None:
                    worst, kb = max(worst, found[0]), kb and (found[1] or distribution != "own")
            timed = OpenBenchmark(
                bench, contender, baseline,
                clock=of._clock, protocol=of._protocol, secret=of._secret,
                trials=checked.trials + len(SECOND_SEED_TRIALS), judged_by_cpu=of._device.is_cpu,
                alone_us=alone_us,
            )  # fmt: skip
            result = timed.run(self._source.precision, (worst, kb))
        return replace(checked.told(result), trials=result.trials)

    def _reseeded(self, bench: SeededBench) -> int:
        """A new secret seed of the weights."""
        seed = self._of._seeds() % (1 << SEED_BITS)
        bench.reseed(seed)
        return seed

    def _alone(self, bench: SeededBench, baseline: OpenContender) -> tuple[float, ...]:
        """Eager's times on a card before the candidate is there: it cannot be stopped there once it is."""
        of, times = self._of, []
        if of._index is None:
            return ()
        for _ in range(of._protocol.warm_up_runs + of._protocol.floor_samples):
            baseline.offer(bench.draw("own").given([]), of._secret.choice(POISONS))
            times.append(baseline.go(of._clock, of._protocol.baseline_limit_s).wall_us)
        return tuple(times[of._protocol.warm_up_runs :])

    @contextlib.contextmanager
    def _contender(self, bench: SeededBench, stage: str, seed: int) -> Iterator[OpenContender]:
        with scratch_directory("kforge-open-") as scratch, self._group() as groups:
            contender = self._loaded(bench, {"seed": seed, "scratch": scratch, "groups": groups})
            try:
                self._construct(contender, bench, stage)
                yield contender
            finally:
                contender.close()

    @contextlib.contextmanager
    def _group(self) -> Iterator[tuple[str, ...]]:
        """A control group, for as long as the candidate's processes live; its folders."""
        made = None
        if self._of._protocol.has("limits"):
            memory = min(MEMORY_LIMIT_BYTES, int(MEMORY_SHARE * control_group.machine_memory_bytes()))
            made = control_group.make(memory, PROCESSES)
        try:
            yield () if made is None else made.folders
        finally:
            if made is not None:
                made.remove()

    def _loaded(self, bench: SeededBench, own: Mapping[str, Any]) -> OpenContender:
        """A process with all its layers on; on a card with as few shared namespaces as its driver accepts."""
        of = self._of
        while True:
            contender = contender_class(of._index)(
                of._warm, child.run, self._candidate_job(bench, own),
                values=bench.workload.inputs(0), outputs=bench.spec.outputs,
                protocol=of._protocol, secret=of._secret, kind="candidate",
            )  # fmt: skip
            contender.seed = own["seed"]
            try:
                self.sandbox = contender.load()
                contender.map()
                return contender
            except (RunnerFailed, InfraError, CudaFailed) as error:
                contender.close()
                further = of.share_more()
                if not further:
                    raise InfraError(
                        f"The sandbox could not be set up ({type(error).__name__}): {error}",
                        "run `kforge doctor`",
                    ) from error

    def _candidate_job(self, bench: SeededBench, own: Mapping[str, Any]) -> dict[str, Any]:
        of, scratch = self._of, own["scratch"]
        arguments = bench.workload.init_inputs(own["seed"])
        return {
            **own,
            "text": self._source.text,
            "init": base64.b64encode(pickle.dumps(arguments)).decode(),
            "extensions": dict(self._extensions),
            "readable": [*self._readable, *sorted({str(Path(p).parent) for p in self._extensions.values()})],
            "device_index": of._index,
            "shared": list(of._shared),
            "variables": {"HOME": scratch, "TMPDIR": scratch}
            | {name: text.replace("{scratch}", scratch) for name, text in self._variables.items()},
            "threads": of._threads,
            "precision": self._source.precision,
            "off": sorted(DEFENCES - of._protocol.defences),
        }

    def _construct(self, contender: OpenContender, bench: SeededBench, stage: str) -> None:
        """Layers on, candidate's file run, model made; raises ``Stop``."""
        lacking = [name for name, there in self.sandbox.items() if not there]
        if self._required and lacking:
            raise MissingPrerequisite(
                f"--require-sandbox: this machine lacks {', '.join(lacking)}; the candidate was not run.",
                "run `kforge doctor`, or leave --require-sandbox out",
            )
        limit_s = self._of._protocol.load_limit_s
        rejected: Rejected
        try:
            contender.construct(self._of._clock)
        except RunnerHung as error:
            reason = f"running the file and constructing ModelNew did not end within {limit_s:g} s"
            rejected = TimedOut(reason, "check" if stage == "check" else "bench", limit_s)
            raise Stop(rejected) from error
        except RunnerDied as error:
            reason = f"the candidate took its process down while ModelNew was constructed ({error.how})"
            raise Stop(CheckFailed(reason, "crash", bench.spec.name, 0)) from error
        except RunnerRefused as error:
            missing = contender.missing()
            if missing:
                raise _Missing(missing) from error
            raise Stop(CheckFailed(str(error), error.kind, bench.spec.name, 0)) from error

    @contextlib.contextmanager
    def _eager(self, bench: SeededBench, seed: int) -> Iterator[OpenContender]:
        of = self._of
        job = {
            **of._job, "workload": bench.spec.name, "seed": seed,
            "threads": of._threads, "precision": self._source.precision, "device_index": of._index,
        }  # fmt: skip
        baseline = contender_class(of._index)(
            of._spawn, eager.run, job,
            values=bench.workload.inputs(0), outputs=bench.spec.outputs,
            protocol=of._protocol, secret=of._secret, kind="trusted",
        )  # fmt: skip
        try:
            baseline.client.wait_loaded(of._protocol.baseline_limit_s)
            baseline.map()
            baseline.halt(of._clock)
            yield baseline
        finally:
            baseline.close()


def use_card(index: int) -> torch.device:
    """Open the card in this process.

    Raises:
        InfraError: it cannot be used.
    """
    try:
        return use_device(index)
    except (CudaFailed, RuntimeError) as error:
        raise InfraError(f"The CUDA device cannot be used: {error}.", "run `kforge doctor`") from error


def contender_class(index: int | None) -> type[OpenContender]:
    """The kind of contender for the host or a card; the latter needs the cuda extra."""
    if index is None:
        return OpenContender
    from kforge.eval.open.contender_cuda import CudaOpenContender

    return CudaOpenContender
