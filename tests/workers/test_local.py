"""The local pool on a real device: overlap, exclusive measurement, and what is left after a loss."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kforge.errors import TaskError
from kforge.eval.candidate import parse_candidate
from kforge.eval.threads import below
from kforge.search.pool import EvaluationRequest
from kforge.types import Built, CandidateSource, CheckFailed, InfraFailed, Passed, ScreenedOut, Unstable
from kforge.workers.hardware import choose_device
from kforge.workers.local import LocalPool, describe_task

pytestmark = pytest.mark.sycl
TASK, SIZE = "kb/L1/88", "small"

SOURCE = """
LANGUAGE = "sycl"
SOURCE = r'''
namespace sx = sycl::ext::oneapi;
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void gelu(const float* x, float* y, int n) {
  int i = sx::this_work_item::get_nd_item<1>().get_global_id(0);
  if (i >= n) return;
  float v = x[i];
  BODY
  y[i] = 0.5f * v * (1.0f + sycl::tanh(0.7978845608f * (v + 0.044715f * v * v * v)));
}
'''
def plan(k, x):
    y = k.empty_like(x)
    k.launch("gelu", grid=(k.cdiv(x.numel(), 256),), block=(256,), args=[x, y, x.numel()])
    return y
"""


def request_of(body: str) -> EvaluationRequest:
    parsed = parse_candidate(SOURCE.replace("BODY", body))
    assert isinstance(parsed, CandidateSource), parsed
    return EvaluationRequest("c", parsed, parsed.first_choice(), "sealed")


GOOD = request_of("")
# Long enough to be under way when it is killed; the loop's bound is not known to the compiler.
SLOW = request_of("for (long r = 0; r < 3000000L * n; ++r) v += 1e-30f * (float)(r % 3);")


def with_pool(scenario: Callable[[LocalPool], Awaitable[None]], cache: Path) -> None:
    async def run() -> None:
        pool = await LocalPool.open(TASK, SIZE, choose_device("sycl", "cpu"), cache, None)
        try:
            await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(run())


async def built(pool: LocalPool, request: EvaluationRequest) -> Built:
    report = await pool.build(request)
    assert isinstance(report.result, Built), report.result
    return report.result


async def must_still_work(pool: LocalPool) -> None:
    report = await pool.measure(GOOD, await built(pool, GOOD))
    assert isinstance(report.outcome, Passed | Unstable), report.outcome


def test_a_killed_measuring_process_is_an_infrastructure_failure_and_is_replaced(cache: Path) -> None:
    async def scenario(pool: LocalPool) -> None:
        slow = await built(pool, SLOW)
        measuring = asyncio.create_task(pool.measure(SLOW, slow))
        await asyncio.sleep(2)
        first = pool._worker.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        report = await measuring
        assert isinstance(report.outcome, InfraFailed)
        await must_still_work(pool)
        assert pool._worker.pid != first

    with_pool(scenario, cache)


def test_a_killed_runner_is_the_candidate_s_crash_and_the_place_is_free(cache: Path) -> None:
    async def scenario(pool: LocalPool) -> None:
        slow = await built(pool, SLOW)
        measuring = asyncio.create_task(pool.measure(SLOW, slow))
        await asyncio.sleep(3)
        worker = pool._worker.pid
        assert worker is not None
        for pid in reversed(below(worker)):
            if _is_runner(pid):
                os.kill(pid, signal.SIGKILL)
        report = await measuring
        assert isinstance(report.outcome, CheckFailed)
        assert report.outcome.kind == "crash"
        await must_still_work(pool)

    with_pool(scenario, cache)


def _is_runner(pid: int) -> bool:
    """Runners hold the OpenCL driver; the fork server and the measuring process do not."""
    try:
        return "libintelocl" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_no_process_is_left_when_the_pool_closes(cache: Path) -> None:
    seen: list[int] = []

    async def scenario(pool: LocalPool) -> None:
        slow = await built(pool, SLOW)
        measuring = asyncio.create_task(pool.measure(SLOW, slow))
        await asyncio.sleep(2)
        worker = pool._worker.pid
        assert worker is not None
        seen.extend([worker, *below(worker)])
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)

    with_pool(scenario, cache)
    assert len(seen) >= 2
    assert [pid for pid in seen if _alive(pid)] == []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.slow
def test_builds_overlap_with_a_measurement_and_the_device_is_never_shared(cache: Path) -> None:
    async def scenario(pool: LocalPool) -> None:
        good = await built(pool, GOOD)
        inside, most = 0, 0
        original = pool._worker.ask

        async def counting(*args: object, **kwargs: object) -> object:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            try:
                return await original(*args, **kwargs)  # type: ignore[arg-type]
            finally:
                inside -= 1

        pool._worker.ask = counting  # type: ignore[method-assign]
        other = request_of("v = v * 1.0f;")
        reports = await asyncio.gather(pool.measure(GOOD, good), pool.measure(GOOD, good), pool.build(other))
        assert most == 1
        assert isinstance(reports[2].result, Built)
        assert pool.idle_while_queued_s() < 3.0

    with_pool(scenario, cache)


def test_a_rejected_plan_never_reaches_the_device(cache: Path) -> None:
    async def scenario(pool: LocalPool) -> None:
        parsed = parse_candidate(
            SOURCE.replace("BODY", "").replace("grid=(k.cdiv(x.numel(), 256),)", "grid=(0,)")
        )
        assert isinstance(parsed, CandidateSource)
        report = await pool.build(EvaluationRequest("c", parsed, {}, "sealed"))
        assert isinstance(report.result, ScreenedOut)
        assert "gelu" in report.result.reason

    with_pool(scenario, cache)


def test_a_task_that_kills_its_process_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        "import os\nos._exit(3)\nclass Model: pass\ndef get_inputs(): pass\ndef get_init_inputs(): pass\n"
    )
    with pytest.raises(TaskError, match=r"bad\.py") as caught:
        describe_task(str(file), "full", None)
    assert "code 3" in caught.value.message
