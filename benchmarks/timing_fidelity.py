"""How true is the clock on a CUDA card? Kernels against themselves, 2 % longer ones, and other clocks.

``python -m benchmarks.timing_fidelity --pairs 200 --out fidelity.json`` runs the referee's benchmark stage
at record quality on kernels of known work, from about 3 us to 5 ms: a dependent chain of FMAs, so time is
proportional to its length. Every pair has two fresh runners. It says how many intervals of A against A hold
1, how often a kernel that is 2 % longer is called SLOW and one that is equal is not called SAME, and how the
medians compare with CUPTI's (``torch.profiler``) and Triton's ``do_bench`` on the same kernels.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kforge.clock import SystemClock, secret_seed
from kforge.config import places
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval import cuda_driver
from kforge.eval.bench_cuda import CudaBaseline, CudaBenchmark
from kforge.eval.candidate import parse_candidate
from kforge.eval.contender_cuda import CudaContender
from kforge.eval.cuda_clock import DeviceClock
from kforge.eval.pipeline import build_candidate
from kforge.eval.precision_policy import Policy
from kforge.eval.protocol import RECORD_PROTOCOL
from kforge.eval.rejection import Stop
from kforge.eval.workbench import Workbench
from kforge.eval.worker import PREPARATIONS
from kforge.types import Built, CandidateSource, DeviceInfo, WorkloadResult
from kforge.workers.hardware import choose_device

TASK = """
import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        return x + 0.0


def get_inputs():
    return [torch.rand(512, 512)]


def get_init_inputs():
    return []
"""
# Adding nothing to x, after LENGTH dependent FMAs that no compiler may leave out: 0 * inf would be NaN.
CANDIDATE = '''
LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void chain(const float* x, float* y, int n, int length) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i], held = v;
#pragma unroll 8
  for (int j = 0; j < length; ++j) held = fmaf(held, 0.999f, 1e-3f);
  y[i] = v + 0.0f * held;
}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.launch("chain", grid=(k.cdiv(x.numel(), 256),), block=(256,), args=[x, y, x.numel(), LENGTH])
    return y
'''
LENGTHS = (400, 1_600, 6_400, 25_600, 102_400, 409_600, 1_400_000)
LONGER = 1.02


class Twin(CudaBaseline):
    """A candidate in eager's role."""

    def __init__(self, contender: CudaContender) -> None:
        super().__init__(contender.client, (), loaded=True)
        self._contender = contender

    def give(self, values: Sequence[Tensor]) -> None:
        """Write this sample's values."""
        self._contender.prepare(values, 0)

    def choose(self, what: str, policy: Policy, limit_s: float, *, warm: bool) -> None:
        """There is nothing else to run."""
        for _ in range(3 if warm else 0):
            self.client.go(SystemClock(), limit_s)

    def rest(self, limit_s: float) -> None:
        """It keeps nothing."""

    def compile(self, policy: Policy, limit_s: float) -> bool:
        """It is no module."""
        return False


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison, baseline over candidate."""

    length: int
    longer: bool
    result: WorkloadResult | None
    stopped: str | None


class Range:
    """The card, the task, and kernels built for it."""

    def __init__(self, folder: Path) -> None:
        self.device: DeviceInfo = choose_device("cuda", "auto")
        self.cache = places().cache
        path = folder / "task.py"
        path.write_text(TASK)
        loaded = load_task(resolve(str(path)), "full")
        self.description = describe(loaded)
        prepared, _ = PREPARATIONS["cuda"](self.cache, self.device)
        self.job = {**prepared, "task": str(path), "size": "full", "user_dir": None, "precision": "ieee"}
        self.card = cuda_driver.use_device(int(self.job["device_index"]))
        self.warm = multiprocessing.get_context("forkserver")
        self.warm.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_cuda"])
        self.bench = Workbench(loaded.workloads[0], self.description.workloads[0], secret_seed, self.card)
        self.secret = random.Random(secret_seed())
        self._built: dict[int, Built] = {}

    def built(self, length: int) -> Built:
        """A chain of that length."""
        if length not in self._built:
            source = parse_candidate(CANDIDATE.replace("LENGTH", str(length)))
            assert isinstance(source, CandidateSource), source
            found = asyncio.run(
                build_candidate(
                    source, source.first_choice(), self.description,
                    device=self.device, track="sealed", cache_dir=self.cache,
                )
            )  # fmt: skip
            assert isinstance(found, Built), found
            self._built[length] = found
        return self._built[length]

    def runner(self, length: int) -> CudaContender:
        """A fresh process."""
        built = self.built(length)
        plan = json.loads(built.plans[self.description.workloads[0].name])
        job = {**self.job, "off": []}
        return CudaContender(self.warm, plan, built.module_path, self.device, job)

    def pair(self, length: int, *, longer: bool) -> Pair:
        """Compare a chain with itself, or a candidate that is 2 % longer with it."""
        both = [self.runner(length), self.runner(round(length * LONGER) if longer else length)]
        try:
            for contender in both:
                contender.client.wait_loaded(RECORD_PROTOCOL.load_limit_s)
            timed = CudaBenchmark(
                self.bench, both[1], Twin(both[0]),
                clock=SystemClock(), protocol=RECORD_PROTOCOL, secret=self.secret, least_us=0.0,
            )  # fmt: skip
            return Pair(length, longer, timed.run("ieee", (0.0, True)), None)
        except Stop as stop:
            return Pair(length, longer, None, f"{type(stop.outcome).__name__}: {stop.outcome.reason}")
        finally:
            for contender in both:
                contender.client.close()

    def clocks(self, length: int) -> dict[str, float]:
        """Median microseconds of one chain by this process's events, by CUPTI and by Triton."""
        module = cuda_driver.load_module(Path(self.built(length).module_path).read_bytes())
        kernel = cuda_driver.kernel_of(module, "chain")
        x = torch.rand(512, 512, device=self.card)
        y = torch.empty_like(x)
        submit = _launcher(kernel, x, y, length)
        clock = DeviceClock(self.card, Path(self.job["trusted"]).read_bytes())
        events = [clock.timed(lambda: submit(clock.stream.cuda_stream)).device_us for _ in range(60)][10:]
        nothing = min(clock.timed(lambda: None).device_us for _ in range(20))
        found = {"events_us": statistics.median(events), "floor_us": nothing}
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            for _ in range(50):
                clock.timed(lambda: submit(clock.stream.cuda_stream))
        records = [e for e in profile.events() or () if e.name.startswith("chain")]
        if records:
            found["cupti_us"] = statistics.median(float(e.device_time) for e in records)
        stream = torch.cuda.current_stream(self.card).cuda_stream
        try:
            from triton.testing import do_bench
        except ImportError:
            return found
        found["do_bench_us"] = float(do_bench(lambda: submit(stream), return_mode="median")) * 1e3
        return found


def _launcher(kernel: object, x: Tensor, y: Tensor, length: int) -> Callable[[int], None]:
    import ctypes

    values = (
        ctypes.c_uint64(x.data_ptr()), ctypes.c_uint64(y.data_ptr()),
        ctypes.c_int32(x.numel()), ctypes.c_int32(length),
    )  # fmt: skip
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))

    def submit(stream: int) -> None:
        # The values must outlive the launch, so they are named here.
        assert len(values) == len(pointers)
        code = cuda_driver.driver().cuLaunchKernel(
            kernel, x.numel() // 256, 1, 1, 256, 1, 1, 0, stream, ctypes.addressof(pointers), 0
        )
        cuda_driver.call(code, "launching the chain")

    return submit


def row(pair: Pair) -> dict[str, Any]:
    """A pair as plain data."""
    result = pair.result
    if result is None:
        return {"length": pair.length, "longer": pair.longer, "stopped": pair.stopped}
    return {
        "length": pair.length, "longer": pair.longer, "speedup": result.speedup,
        "low": result.speedup_low, "high": result.speedup_high, "verdict": result.verdict,
        "us": result.candidate.median_us, "pairs": result.candidate.n, "noise": result.candidate.noise,
        "wall_us": result.wall_us,
    }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """What the pairs say, in the words of the issue."""
    lines = []
    for longer in (False, True):
        found = [r for r in rows if r["longer"] is longer and "speedup" in r]
        if not found:
            continue
        truth = 1 / LONGER if longer else 1.0
        held = sum(r["low"] <= truth <= r["high"] for r in found)
        verdicts = {v: sum(r["verdict"] == v for r in found) for v in ("SAME", "FAST", "SLOW", "AMBIGUOUS")}
        noise = statistics.median(r["noise"] for r in found)
        lines.append(
            f"{'2 % longer' if longer else 'itself'}: {len(found)} pairs, {held} intervals hold {truth:.4f}, "
            f"{verdicts}, median (p90-p10)/median {noise:.2%}, "
            f"median of samples {statistics.median(r['pairs'] for r in found):.0f}"
        )
    stopped = [r["stopped"] for r in rows if "stopped" in r]
    return [*lines, f"stopped: {len(stopped)} {sorted(set(stopped))}"] if stopped else lines


def main() -> int:
    """Measure, print a table, write every pair."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200, help="of each kind")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=540.0, help="stop early, and say so")
    options = parser.parse_args()
    clock, rows = SystemClock(), []
    deadline = clock.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        ground = Range(Path(folder))
        print(f"{ground.device.name}, torch {torch.__version__}, driver {ground.device.driver}", flush=True)
        clocks = {length: ground.clocks(length) for length in LENGTHS}
        for length, found in clocks.items():
            print(length, {name: round(us, 3) for name, us in found.items()}, flush=True)
        for number in range(options.pairs):
            for longer in (False, True):
                rows.append(row(ground.pair(LENGTHS[number % len(LENGTHS)], longer=longer)))
            if clock.monotonic() > deadline:
                print(f"out of time after {number + 1} pairs of each kind")
                break
    print("\n".join(summary(rows)))
    if options.out is not None:
        options.out.write_text(json.dumps({"clocks": clocks, "pairs": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
