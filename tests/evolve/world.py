"""A small deterministic world for the search: a task, a device, a pool and a proposer.

The pool's outcomes are a pure function of the candidate's text, as if recorded; the proposer's replies
are a pure function of prompt and seed. Candidates are parsed by the real parser.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kforge.clock import SystemClock
from kforge.data.lease import Lease
from kforge.data.store import Store
from kforge.eval.candidate import parse_candidate
from kforge.search.budget import NO_LIMITS, Limits
from kforge.search.context import Given, LoopConfig
from kforge.search.events import Event
from kforge.search.loop import evolve
from kforge.search.pool import BuildReport, EvaluationRequest, MeasureReport
from kforge.search.proposer import FreeOfCharge, ProposalRequest, Proposer, Reply
from kforge.search.stop import StopSignal
from kforge.search.summary import RunSummary
from kforge.types import (
    BuildFacts,
    BuildFailed,
    Built,
    CandidateSource,
    Ceilings,
    CheckFailed,
    DeviceInfo,
    InfraFailed,
    InputSpec,
    Measures,
    Outcome,
    Passed,
    Rejected,
    Samples,
    ScreenedOut,
    StageSeconds,
    Suspect,
    TaskDescription,
    TensorSpec,
    TimedOut,
    Unstable,
    WorkloadResult,
    WorkloadSpec,
)

_X = TensorSpec("x", "float32", (4, 512), (512, 1))

TASK = TaskDescription(
    id="kb/L9/1",
    title="Twice x",
    size="small",
    hash="task-hash",
    source="class Model:\n    def forward(self, x):\n        return 2 * x\n",
    workloads=(
        WorkloadSpec(
            name="default",
            inputs=(InputSpec("x", "real", _X), InputSpec("scale", "fixed", None, 2.0)),
            parameters=(TensorSpec("conv.weight", "float32", (8, 4), (4, 1)),),
            buffers=(),
            init={"divide_by": 2.0},
            outputs=(_X,),
            returns_tuple=False,
        ),
    ),
)

DEVICE = DeviceInfo(
    language="sycl",
    backend="opencl",
    name="Test CPU",
    arch="x86_64",
    driver="driver-7",
    sm_count=2,
    max_work_group=8192,
    shared_per_sm=262144,
    shared_optin=262144,
    regs_per_sm=0,
    max_cluster=1,
    max_threads_per_sm=8192,
    warp_size=16,
    l2_bytes=1 << 20,
    memory_bytes=1 << 33,
    is_cpu=True,
    selector="opencl:cpu",
)


def candidate_text(gene: str) -> str:
    return (
        'LANGUAGE = "sycl"\n'
        f"SOURCE = r'''\n// gene {gene}\n'''\n\n\n"
        "def plan(k, x):\n    y = k.empty_like(x)\n    k.launch('f', grid=(1,), block=(1,), args=[x, y])\n"
        "    return y\n"
    )


def source_of(gene: str) -> CandidateSource:
    parsed = parse_candidate(candidate_text(gene))
    assert isinstance(parsed, CandidateSource), parsed
    return parsed


def gene_of(text: str) -> str:
    return str(re.findall(r"// gene (\S+)", text)[-1])


def samples(median_us: float) -> Samples:
    return Samples(
        30, median_us, median_us * 0.99, median_us * 1.01, 0.02, median_us * 0.995, median_us * 1.005
    )


def passed(speedup: float) -> Passed:
    low, high = speedup * 0.98, speedup * 1.02
    result = WorkloadResult(
        workload="default",
        candidate=samples(100.0 / speedup),
        baseline=samples(100.0),
        floor_us=10.0,
        device_us=None,
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        verdict="FAST" if low > 1 else "SLOW",
        trials=5,
        timed_outputs_checked=2,
        max_error=0.1,
        kb_correct=True,
    )
    return Passed(speedup, low, high, 100.0 / speedup, 100.0, 0.02, result.verdict, 0.1, True, (result,))


def _draw(source: CandidateSource) -> random.Random:
    return random.Random(hashlib.sha256(source.device_code.encode()).digest())


def build_result(source: CandidateSource) -> Built | Rejected:
    """Genes say what they become; a plain number draws its fate from its hash."""
    gene, rng = gene_of(source.device_code), _draw(source)
    kind = gene.split(":")[0]
    if kind == "screened" or (kind.isdigit() and rng.random() < 0.1):
        return ScreenedOut("grid of kernel f is 0", "grid")
    if kind == "build" or (kind.isdigit() and rng.random() < 0.2):
        return BuildFailed("1 error", "rtc_0.cpp:3:1: error: unknown type name 'flaot'")
    parts = gene.split(":")
    level = tuple(int(digit) for digit in parts[2]) if len(parts) == 3 else tuple(rng.choices(range(4), k=3))
    return Built(
        "key-" + gene,
        "module.so",
        {},
        BuildFacts((), 100),
        Measures(*level),
        (),
        "",
        cached=False,
        build_s=0.0,
    )


def measure_outcome(source: CandidateSource) -> Rejected | Passed:
    gene, rng = gene_of(source.device_code), _draw(source)
    kind, *rest = gene.split(":")
    match kind:
        case "check":
            return CheckFailed("row 3 is off", "mismatch", "default", 2, 17.0)
        case "timeout":
            return TimedOut("killed", "check", 10.0)
        case "unstable":
            return Unstable("samples spread", 0.9)
        case "suspect":
            return Suspect("faster than memory", "1 us against 10 us")
        case "ok":
            return passed(float(rest[0]))
        case _:
            if rng.random() < 0.2:
                return CheckFailed("row 3 is off", "mismatch", "default", 2, 17.0)
            return passed(round(0.5 + 2 * rng.random(), 3))


class WorldPool:
    """A pool whose answers are recorded; it counts device work by gene."""

    def __init__(self, in_flight: int = 2, delay_s: Callable[[str], float] = lambda gene: 0.0) -> None:
        self._in_flight = in_flight
        self._delay_s = delay_s
        self.built: Counter[str] = Counter()
        self.measured: Counter[str] = Counter()
        self.busy = 0
        self.most_busy = 0
        self.ceilings: Ceilings | None = None

    @property
    def in_flight(self) -> int:
        return self._in_flight

    async def build(self, request: EvaluationRequest) -> BuildReport:
        gene = gene_of(request.source.device_code)
        self.built[gene] += 1
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            await asyncio.sleep(self._delay_s(gene))
        finally:
            self.busy -= 1
        return BuildReport(build_result(request.source), 0.25)

    async def measure(self, request: EvaluationRequest, built: Built) -> MeasureReport:
        gene = gene_of(request.source.device_code)
        self.measured[gene] += 1
        await asyncio.sleep(self._delay_s(gene))
        return MeasureReport(measure_outcome(request.source), StageSeconds(0.0, 0.5, 1.0, 1.5))

    def idle_while_queued_s(self) -> float:
        return 0.125

    async def close(self) -> None:
        return None


class FlakyPool(WorldPool):
    """Fails as infrastructure the first ``failures`` times, in the stage given."""

    def __init__(self, failures: int, stage: str) -> None:
        super().__init__(in_flight=1)
        self._left = failures
        self._stage = stage

    async def build(self, request: EvaluationRequest) -> BuildReport:
        if self._stage == "build" and self._fails():
            return BuildReport(InfraFailed("worker died"), 0.0)
        return await super().build(request)

    async def measure(self, request: EvaluationRequest, built: Built) -> MeasureReport:
        if self._stage == "measure" and self._fails():
            return MeasureReport(InfraFailed("worker died"), StageSeconds())
        return await super().measure(request, built)

    def _fails(self) -> bool:
        self._left -= 1
        return self._left >= 0


def reply(content: str) -> Reply:
    return Reply(content, "because", 100, 20, 0.5)


class WorldProposer(FreeOfCharge):
    """Varies the gene of the parent in the prompt, by the seed; sometimes answers with prose."""

    name = "world"
    offline = True
    keeps_requests = False

    def __init__(self, genes: int = 60, delay_s: float = 0.0) -> None:
        self._genes = genes
        self._delay_s = delay_s
        self.prompts: list[str] = []

    def supports(self, task: TaskDescription) -> str | None:
        return None if task.id == TASK.id else "it knows one task only"

    async def propose(self, request: ProposalRequest) -> Reply:
        user = request.messages[-1].content
        self.prompts.append(user)
        rng = random.Random(hashlib.sha256(f"{request.seed}".encode() + user.encode()).digest())
        await asyncio.sleep(self._delay_s * rng.random())
        if rng.random() < 0.1:
            return reply("I would rather talk about it.")
        known = re.findall(r"// gene (\d+)", user)
        gene = (int(known[0]) if known else rng.randrange(self._genes)) + rng.randrange(-7, 8)
        return reply(f"A thought.\n\n```python\n{candidate_text(str(gene % self._genes))}```\n")


class ScriptProposer(FreeOfCharge):
    """Answers ordinal n with the n-th gene; a gene ``prose`` is no candidate."""

    name = "script"
    offline = True
    keeps_requests = False

    def __init__(self, *genes: str) -> None:
        self._genes = genes
        self.requests: list[ProposalRequest] = []

    def supports(self, task: TaskDescription) -> str | None:
        return None

    async def propose(self, request: ProposalRequest) -> Reply:
        self.requests.append(request)
        gene = self._genes[min(request.ordinal, len(self._genes) - 1)]
        if gene == "prose":
            return reply("no code today")
        return reply(f"```python\n{candidate_text(gene)}```")


def open_store(directory: Path) -> Store:
    return Store.open(f"sqlite:///{directory / 'kforge.db'}")


def make_run(store: Store, name: str = "r1", seed: int = 7) -> str:
    existing = store.find_run(name)
    if existing is not None:
        return existing.id
    return store.create_run(
        name=name,
        task_id=TASK.id,
        size=TASK.size,
        language="sycl",
        seed=seed,
        config={},
        now=SystemClock().now(),
    ).id


def config(
    evals: int,
    *,
    seed: int = 7,
    in_flight: int | None = None,
    deterministic: bool = True,
    minutes: float | None = None,
    proposal_deadline_s: float = 60.0,
    limits: Limits = NO_LIMITS,
    given: tuple[Given, ...] = (),
) -> LoopConfig:
    return LoopConfig(
        evals,
        seed,
        "harness-1",
        in_flight=in_flight,
        deterministic=deterministic,
        limits=limits if minutes is None else Limits(minutes=minutes),
        given=given,
        proposal_deadline_s=proposal_deadline_s,
    )


def run_session(
    store: Store,
    settings: LoopConfig,
    pool: WorldPool,
    proposer: Proposer,
    *,
    run_id: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: StopSignal | None = None,
    clock: SystemClock | None = None,
    lease: Lease | None = None,
) -> RunSummary:
    return asyncio.run(
        evolve(
            settings,
            task=TASK,
            device=DEVICE,
            pool=pool,
            proposer=proposer,
            store=store,
            run_id=run_id or make_run(store),
            clock=clock or SystemClock(),
            parse_candidate=parse_candidate,
            on_event=on_event,
            stop=stop or StopSignal(),
            lease=lease,
        )
    )


def outcomes_by_ordinal(store: Store, run_id: str) -> dict[int, Outcome]:
    records = store.load_run(run_id)
    ordinals = {c.id: c.ordinal for c in records.candidates}
    return {ordinals[e.candidate_id]: e.value.outcome for e in records.evaluations}
