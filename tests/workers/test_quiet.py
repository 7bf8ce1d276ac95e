"""The gate between builds and benchmarks on a CPU device."""

from __future__ import annotations

import asyncio

from kforge.workers.quiet import QuietGate


def test_a_benchmark_waits_for_running_builds_and_keeps_new_ones_out() -> None:
    order: list[str] = []

    async def scenario() -> None:
        gate, first_done = QuietGate(), asyncio.Event()

        async def first_build() -> None:
            async with gate.building():
                order.append("build 1 begins")
                await first_done.wait()
                order.append("build 1 ends")

        async def second_build() -> None:
            async with gate.building():
                order.append("build 2")

        async def benchmark() -> None:
            await gate.begin_benchmark()
            order.append("benchmark")
            await asyncio.sleep(0.01)
            await gate.end_benchmark()

        tasks = [asyncio.create_task(first_build())]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(benchmark()))
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(second_build()))
        await asyncio.sleep(0.01)
        assert order == ["build 1 begins"]
        first_done.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert order == ["build 1 begins", "build 1 ends", "benchmark", "build 2"]


def test_a_cancelled_benchmark_lets_builds_in_again() -> None:
    async def scenario() -> bool:
        gate = QuietGate()
        async with gate.building():
            waiting = asyncio.create_task(gate.begin_benchmark())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(5), gate.building():
            return True

    assert asyncio.run(scenario())


def test_builds_run_together() -> None:
    async def scenario() -> int:
        gate, inside, most = QuietGate(), 0, 0

        async def build() -> None:
            nonlocal inside, most
            async with gate.building():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1

        await asyncio.gather(*(build() for _ in range(3)))
        return most

    assert asyncio.run(scenario()) == 3
