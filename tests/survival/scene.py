"""A pool with short limits on a tiny task, whose processes can be hit by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal

from kforge.eval.candidate import parse_candidate
from kforge.eval.threads import below
from kforge.search.pool import EvaluationRequest
from kforge.types import Built, CandidateSource, Outcome
from kforge.workers import measuring
from kforge.workers.hardware import choose_device
from kforge.workers.local import LocalPool
from kforge.workers.measuring import _orphans

Who = Literal["verifier", "fork server", "tracker", "baseline", "runner"]
When = Literal["idle", "check", "bench"]
PROGRAM = "tests.survival.quick_worker"
TASK = """
import torch
from torch import Tensor, nn


class Model(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


def get_inputs():
    return [torch.randn(64, 64)]


def get_init_inputs():
    return []
"""
CANDIDATE = """
LANGUAGE = "sycl"
SOURCE = r'''
namespace sx = sycl::ext::oneapi;
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void relu(const float* x, float* y, int n) {
  int i = sx::this_work_item::get_nd_item<1>().get_global_id(0);
  if (i >= n) return;
  float v = x[i];
  BODY
}
'''


def plan(k, x):
    y = k.empty_like(x)
    k.launch("relu", grid=(k.cdiv(x.numel(), 64),), block=(64,), args=[x, y, x.numel()])
    return y
"""
HONEST = "y[i] = v < 0.0f ? 0.0f : v;"


def request(body: str = HONEST) -> EvaluationRequest:
    """A candidate with this kernel body."""
    parsed = parse_candidate(CANDIDATE.replace("BODY", body))
    assert isinstance(parsed, CandidateSource), parsed
    return EvaluationRequest("c", parsed, {}, "sealed")


class Scene:
    """One open pool and its event loop.

    Args:
        home: for the task and the builds.
        cache: of builds.
    """

    def __init__(self, home: Path, cache: Path) -> None:
        task = home / "tiny_relu.py"
        task.write_text(TASK)
        measuring.PROGRAM, self._program = PROGRAM, measuring.PROGRAM
        self._runner = asyncio.Runner()
        device = choose_device("sycl", "cpu")
        self.pool = self._runner.run(LocalPool.open(str(task), "full", device, cache, None))
        self._built: dict[str, Built] = {}

    def outcome(
        self, body: str = HONEST, *, hit: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> Outcome:
        """Build and measure one candidate; ``hit`` runs beside the measurement."""
        return self._runner.run(self._outcome(body, hit))

    async def _outcome(self, body: str, hit: Callable[[], Coroutine[Any, Any, None]] | None) -> Outcome:
        wanted = request(body)
        if body not in self._built:
            report = await self.pool.build(wanted)
            if not isinstance(report.result, Built):
                return report.result
            self._built[body] = report.result
        beside: asyncio.Task[None] | None = asyncio.create_task(hit()) if hit is not None else None
        measured = await self.pool.measure(wanted, self._built[body])
        if beside is not None:
            await beside
        return measured.outcome

    def hit_while_measuring(self, who: Who, number: signal.Signals, when: When) -> Outcome:
        """The honest candidate's outcome when a process is hit: before, or soon after a stage began."""
        if when == "idle":
            assert self._hit(who, number), f"no {who}"
            return self.outcome()
        began = asyncio.Event()
        ask = self.pool._worker.ask

        async def telling(message: Mapping[str, Any], limit_s: float, on_stage: Any = None) -> Any:  # noqa: ANN401
            async def heard(stage: str) -> None:
                await on_stage(stage)
                if stage == when:
                    began.set()

            return await ask(dict(message), limit_s, heard)

        async def hit() -> None:
            await began.wait()
            for _ in range(2000):
                await asyncio.sleep(0.005)
                if self._hit(who, number):
                    return
            raise AssertionError(f"no {who} during {when}")

        self.pool._worker.ask = telling  # type: ignore[method-assign, assignment]
        try:
            return self.outcome(hit=hit)
        finally:
            del self.pool._worker.ask

    def _hit(self, who: Who, number: signal.Signals) -> bool:
        leader = self.pool._worker.pid
        assert leader is not None
        for pid in (leader, *below(leader)):
            if role(pid, leader) == who:
                os.kill(pid, number)
                return True
        return False

    def marked(self) -> list[int]:
        """All processes of the present measuring process, orphans included."""
        scratch = self.pool._worker._scratch
        return [] if scratch is None else _orphans(scratch.path)

    def close(self) -> None:
        """End the pool."""
        measuring.PROGRAM = self._program
        self._runner.run(self.pool.close())
        self._runner.close()


def role(pid: int, leader: int) -> Who | None:
    """Which of a measuring process's processes this is."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        session = os.getsid(pid)
    except OSError:
        return None
    if pid == leader:
        return "verifier"
    if "resource_tracker" in command:
        return "tracker"
    if "spawn_main" in command:
        return "baseline"
    if "forkserver" in command:
        return "runner" if session == pid else "fork server"
    return None
