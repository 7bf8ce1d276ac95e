"""Values the store tests write."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kforge.data.records import NewEvaluation, Reply, Run
from kforge.data.store import Store
from kforge.types import Passed, Samples, WorkloadResult

START = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def counting_ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):06d}"


def new_run(store: Store, name: str = "demo", seconds: float = 0) -> Run:
    return store.create_run(
        name=name,
        task_id="kb/L2/17",
        size="small",
        language="sycl",
        seed=2**62 + 1,
        config={"evals": 8, "models": ["offline"]},
        now=at(seconds),
    )


def ask(store: Store, run: Run, ordinal: int, prompt: str = '[{"role": "user", "content": "write"}]') -> str:
    return store.begin_proposal(
        run.id, ordinal=ordinal, kind="improve", prompt=prompt, model="offline", seed=7, now=at(ordinal)
    )


def reply(text: str = "```sycl```", usd: float = 0.25) -> Reply:
    return Reply(text=text, reasoning="because", prompt_tokens=100, completion_tokens=20, usd=usd)


def candidate(store: Store, run: Run, ordinal: int, source: str | None = "SOURCE = ''") -> str:
    proposal = ask(store, run, ordinal)
    return store.finish_proposal_with_candidate(proposal, reply(), source=source, now=at(ordinal))


def passed(speedup: float) -> Passed:
    figures = Samples(n=9, median_us=10.0, p10_us=9.0, p90_us=11.0, noise=0.2, ci_low_us=9.5, ci_high_us=10.5)
    workload = WorkloadResult(
        workload="default",
        candidate=figures,
        baseline=figures,
        floor_us=1.0,
        device_us=None,
        speedup=speedup,
        speedup_low=speedup,
        speedup_high=speedup,
        verdict="SAME",
        trials=5,
        timed_outputs_checked=2,
        max_error=0.5,
        kb_correct=True,
    )
    return Passed(
        speedup=speedup,
        speedup_low=speedup,
        speedup_high=speedup,
        latency_us=10.0,
        baseline_us=10.0,
        noise=0.2,
        verdict="SAME",
        max_error=0.5,
        kb_correct=True,
        workloads=(workload,),
    )


def scored(objective: float, key: str = "key") -> NewEvaluation:
    return NewEvaluation(key=key, outcome=passed(2.0), objective=objective)
