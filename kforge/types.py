"""The words of kforge as plain frozen data: tasks, candidates, outcomes.

Standard library only: every process of kforge imports this module, also those without site-packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kforge.diagnosis_types import Diagnosis, InstructionMix, PlanFacts
from kforge.numerics import Numerics

Language = Literal["cuda", "sycl"]
Track = Literal["pure", "sealed", "open"]
Precision = Literal["ieee", "tf32", "fp16", "bf16"]
DType = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]
InputKind = Literal["real", "positive", "probability", "index", "sign", "mask", "fixed"]
Quality = Literal["screen", "record"]  # how well a speedup is to be known: to 1 %, to 0.3 %
Verdict = Literal["FAST", "SLOW", "SAME", "AMBIGUOUS"]
Scalar = bool | int | float | str


DTYPE_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape, type and memory layout of one tensor; strides count elements, as in torch."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One argument of the reference's ``forward``: a tensor, or a constant passed as it is."""

    name: str
    kind: InputKind
    tensor: TensorSpec | None = None
    constant: Scalar | None = None


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """One shape/dtype/distribution of a task as the plan sees it: names and shapes, no values.

    ``flops`` are those of contractions (matrix products, convolutions, attention) in one forward call.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    parameters: tuple[TensorSpec, ...]
    buffers: tuple[TensorSpec, ...]
    init: Mapping[str, object]
    outputs: tuple[TensorSpec, ...]
    returns_tuple: bool
    flops: int = 0


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """What everyone but the verifier knows of a task; ``hash`` covers source and size."""

    id: str
    title: str
    size: str
    hash: str
    source: str
    workloads: tuple[WorkloadSpec, ...]


@dataclass(frozen=True, slots=True)
class CandidateSource:
    r"""A sealed candidate as text, split by the parser.

    Attributes:
        text: the whole candidate file, normalised to ``\n`` line ends.
        hash: sha256 of ``text``, hexadecimal.
        device_code: the value of ``SOURCE``.
        tune: declared search space, name to choices, in the order written.
    """

    text: str
    hash: str
    language: Language
    precision: Precision
    device_code: str
    tune: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)

    def first_choice(self) -> dict[str, Scalar]:
        """The first value of every ``TUNE`` list, which is what ``kforge eval`` measures."""
        return {name: choices[0] for name, choices in self.tune.items()}


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A compute device as the plan sees it (``k.device``) and as results name it.

    ``uuid`` tells one card from another of the same kind; it is provenance, no part of any key.
    """

    language: Language
    backend: str
    name: str
    arch: str
    driver: str
    sm_count: int
    max_work_group: int
    shared_per_sm: int
    shared_optin: int
    regs_per_sm: int
    max_cluster: int
    max_threads_per_sm: int
    warp_size: int
    l2_bytes: int
    memory_bytes: int
    is_cpu: bool
    selector: str
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a device was measured to do at best: a large copy (bytes read plus written), matrix products."""

    copy_bytes_per_s: float
    ieee_flops: float
    tf32_flops: float
    fp16_flops: float
    bf16_flops: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Cell of the archive: three levels of 0..3 (design section 7)."""

    memory: int
    compute: int
    parallelism: int

    def __post_init__(self) -> None:
        for name in ("memory", "compute", "parallelism"):
            level = getattr(self, name)
            if not 0 <= level <= 3:
                raise ValueError(f"measure {name} is {level}; levels are 0, 1, 2 and 3")

    @property
    def cell(self) -> tuple[int, int, int]:
        """The cell as (memory, compute, parallelism)."""
        return (self.memory, self.compute, self.parallelism)


@dataclass(frozen=True, slots=True)
class ParseFailed:
    """The reply held no candidate that the parser could read."""

    reason: str
    status: Literal["parse_failed"] = "parse_failed"


@dataclass(frozen=True, slots=True)
class ScreenedOut:
    """Rejected before any device code ran: the plan, the screen or the signature check refused it."""

    reason: str
    rule: str
    status: Literal["screened_out"] = "screened_out"


@dataclass(frozen=True, slots=True)
class BuildFailed:
    """The compiler refused the source, crashed on it, or ran past its limits."""

    reason: str
    log: str
    status: Literal["build_failed"] = "build_failed"


CheckFailure = Literal[
    "mismatch", "non_finite", "guard", "input_changed", "module_changed", "unwritten", "crash", "launch"
]


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """The candidate ran and was wrong: values, guard zones, inputs, or it took its process down."""

    reason: str
    kind: CheckFailure
    workload: str
    trial: int
    max_error: float | None = None
    kb_correct: bool | None = None
    status: Literal["check_failed"] = "check_failed"


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A stage did not end within its limit and was killed."""

    reason: str
    stage: Literal["plan", "build", "check", "bench"]
    limit_s: float
    status: Literal["timed_out"] = "timed_out"


@dataclass(frozen=True, slots=True)
class Unstable:
    """Correct, but its samples spread too widely for a figure."""

    reason: str
    noise: float
    status: Literal["unstable"] = "unstable"


@dataclass(frozen=True, slots=True)
class Suspect:
    """Its clocks disagree, or it is faster than physics allows: no score."""

    reason: str
    evidence: str
    status: Literal["suspect"] = "suspect"


@dataclass(frozen=True, slots=True)
class Samples:
    """Statistics over timed launches, microseconds.

    ``noise`` is (p90 - p10) / median; ``ci_low_us`` and ``ci_high_us`` bound the median at 95 %
    (binomial order statistics).
    """

    n: int
    median_us: float
    p10_us: float
    p90_us: float
    noise: float
    ci_low_us: float
    ci_high_us: float


@dataclass(frozen=True, slots=True)
class WorkloadResult:
    """One workload, checked and timed: candidate and baseline interleaved in one session.

    On a CPU device times are the verifier's wall clock and ``floor_us``, an empty request's time, is already
    subtracted; on a GPU they are between device events and ``floor_us``, two events with nothing between, is
    not. ``device_us`` is what the device claims; ``busy_others`` the share of all processors that other
    processes used meanwhile (None: unknown).

    Attributes:
        baseline: eager PyTorch at the candidate's precision policy.
        wall_us: the verifier's own clock per run, where the score is the device's (GPU).
        compiled: torch.compile at the same policy; None where it was not or could not be compiled.
        compiled_speedup: over torch.compile: (speedup, low, high).
    """

    workload: str
    candidate: Samples
    baseline: Samples
    floor_us: float
    device_us: float | None
    speedup: float
    speedup_low: float
    speedup_high: float
    verdict: Verdict
    trials: int
    timed_outputs_checked: int
    max_error: float
    kb_correct: bool
    busy_others: float | None = None
    wall_us: float | None = None
    compiled: Samples | None = None
    compiled_speedup: tuple[float, float, float] | None = None
    numerics: Numerics | None = None
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """Correct in every trial of every workload, and timed.

    ``speedup`` is the geometric mean over workloads of baseline median / candidate median; the
    latencies are sums over workloads. ``max_error`` is in units of the allowed error: 1 is the limit.
    """

    speedup: float
    speedup_low: float
    speedup_high: float
    latency_us: float
    baseline_us: float
    noise: float
    verdict: Verdict
    max_error: float
    kb_correct: bool
    workloads: tuple[WorkloadResult, ...]
    status: Literal["passed"] = "passed"


@dataclass(frozen=True, slots=True)
class InfraFailed:
    """kforge itself failed (lost worker, full disk): retried, never scored against the candidate."""

    reason: str
    status: Literal["infra_failed"] = "infra_failed"


Rejected = ParseFailed | ScreenedOut | BuildFailed | CheckFailed | TimedOut | Unstable | Suspect
Outcome = Rejected | Passed | InfraFailed


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Wall seconds by stage; a stage that did not run is 0."""

    build: float = 0.0
    check: float = 0.0
    bench: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """What one compiled kernel does, counted from its machine or intermediate code.

    Counts are weighted: an instruction in a loop of depth d counts 10**d times, capped at d = 3
    (static evidence; trip counts are unknown).
    """

    name: str
    instructions: float
    global_loads: float
    global_load_bytes: float
    global_stores: float
    wide_load_bytes: float
    local_loads: float
    local_stores: float
    float_ops: float
    matrix_ops: float
    async_copies: float
    barriers: float
    subgroup_ops: float
    workgroup_ops: float
    atomics: float
    loop_depth: int
    loading_loops: int
    resources: KernelResources | None = None
    mix: InstructionMix | None = None


@dataclass(frozen=True, slots=True)
class KernelResources:
    """What one kernel takes of an SM, as compiled; ``frame_bytes`` is a thread's stack, spills included."""

    registers: int
    static_shared_bytes: int
    frame_bytes: int


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """Facts of one build: per-kernel counts and the size of the code."""

    kernels: tuple[KernelFacts, ...]
    code_bytes: int
    evidence: Literal["spirv-static", "sass-static"] = "spirv-static"


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build: content-addressed module on disk, launch plans per workload, facts.

    Attributes:
        key: content address (source, options, compiler version, device).
        module_path: executable module file.
        plans: workload name to the validated launch plan as JSON text.
        library_ops: names of library operators that any plan uses.
    """

    key: str
    module_path: str
    plans: Mapping[str, str]
    facts: BuildFacts
    measures: Measures
    library_ops: tuple[str, ...]
    log: str
    cached: bool
    build_s: float
    plan_facts: Mapping[str, PlanFacts] = field(default_factory=dict)
