"""The words of facts and diagnosis as plain frozen data. Standard library only, as ``types``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

OccupancyLimit = Literal["registers", "shared_memory", "warps", "blocks"]
UnseenReason = Literal["run_time_stride", "depends_on_data", "not_followed"]
LimiterName = Literal[
    "memory_bandwidth", "arithmetic", "launch_overhead", "too_few_blocks", "partial_warps", "tail_wave",
    "uncoalesced", "bank_conflicts", "spills", "local_arrays", "low_occupancy", "few_bytes_in_flight",
    "no_tensor_cores", "little_reuse", "shared_traffic", "extra_traffic", "library_operators", "atomics",
    "double_precision", "special_functions", "index_arithmetic", "unexplained",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class InstructionMix:
    """Machine instructions of one kernel by the unit that executes them, NOPs left out.

    Counts are of warp instructions and weighted like those of ``KernelFacts``: 10**d in a loop of depth d,
    d at most 3. They say how instructions relate to each other, not how many were executed.

    Attributes:
        total: all of them.
        global_loads: bytes per thread to count; generic loads are among them.
        spill_accesses: local memory at a fixed place of the stack: spilled registers, or arguments of a call.
        array_accesses: local memory at a place worked out at run time: an array that is indexed.
        fp32_fma: fused multiply-adds, packed pairs of them too.
        fp32: other arithmetic, comparisons and conversions on floats.
        fp16: arithmetic on pairs of halves; moves of constants that borrow this unit are ``moves``.
        special: reciprocals, roots, exponentials, sines: the multi-function unit.
        matrix: tensor cores.
        async_copies: global to shared memory past the registers.
        load_bytes_in_flight: most bytes of global loads that one thread waits for at once, in the deepest
            loop that has any; None where nothing is loaded through registers.
    """

    total: float
    global_loads: Mapping[int, float]
    global_stores: Mapping[int, float]
    shared_loads: Mapping[int, float]
    shared_stores: Mapping[int, float]
    spill_accesses: float
    array_accesses: float
    fp32_fma: float
    fp32: float
    fp16: float
    fp64: float
    special: float
    matrix: float
    barriers: float
    atomics: float
    shuffles: float
    async_copies: float
    integer: float
    control: float
    moves: float
    other: float
    load_bytes_in_flight: int | None


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many blocks of one launch an SM holds at once, in theory.

    Attributes:
        limits: what forbids one block more; several where they coincide.
    """

    blocks_per_sm: int
    warps_per_sm: int
    max_warps_per_sm: int
    limits: tuple[OccupancyLimit, ...]

    @property
    def share(self) -> float:
        """Resident warps over the most that an SM can hold."""
        return self.warps_per_sm / self.max_warps_per_sm


@dataclass(frozen=True, slots=True)
class GlobalAccess:
    """Global memory instructions of one kind whose addresses within a warp are known up to a common start.

    Figures are those of the block's first warp, if that start lies on a 128-byte line.

    Attributes:
        count: weighted instructions.
        stride_bytes: from each lane to the next; None where it differs among lanes.
        sectors: of 32 bytes that one request touches.
        lines: of 128 bytes that it touches.
        fetched: sectors per request once those that accesses beside it touch too are counted once.
        needed: sectors that the same bytes would fill if they were packed.
    """

    store: bool
    width_bytes: int
    count: float
    stride_bytes: int | None
    sectors: int
    lines: int
    fetched: float
    needed: int
    atomic: bool = False
    kind: Literal["global"] = "global"


@dataclass(frozen=True, slots=True)
class SharedAccess:
    """Shared memory instructions of one kind whose addresses within a warp are known up to a common start.

    Attributes:
        wavefronts: cycles of the shared memory that one request takes.
        needed: the fewest that its distinct words allow.
    """

    store: bool
    width_bytes: int
    count: float
    stride_bytes: int | None
    wavefronts: int
    needed: int
    atomic: bool = False
    kind: Literal["shared"] = "shared"


@dataclass(frozen=True, slots=True)
class UnseenAccess:
    """Memory instructions whose addresses the machine code alone does not give away, and why."""

    space: Literal["global", "shared"]
    store: bool
    width_bytes: int
    count: float
    why: UnseenReason
    atomic: bool = False
    kind: Literal["unseen"] = "unseen"


Access = GlobalAccess | SharedAccess | UnseenAccess


@dataclass(frozen=True, slots=True)
class LaunchFacts:
    """Launches of one kernel with one geometry in a plan.

    Attributes:
        launches: how many of them one run of the plan makes.
        blocks: of one launch.
        occupancy: None on an architecture whose limits are not in the table, or where no block fits.
        waves: blocks over those that the device holds at once; None without occupancy.
        tensor_bytes: of the tensors that its arguments name, each once; it may touch less, or some twice.
    """

    kernel: str
    launches: int
    blocks: int
    threads_per_block: int
    static_shared_bytes: int
    dynamic_shared_bytes: int
    registers: int
    frame_bytes: int
    occupancy: Occupancy | None
    waves: float | None
    tensor_bytes: int
    accesses: tuple[Access, ...]


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What one run of a plan launches, for one workload.

    Attributes:
        operators: names of library operators, in order.
        operator_bytes: of the tensors that these read and write, each once per operator.
    """

    launches: tuple[LaunchFacts, ...]
    operators: tuple[str, ...]
    operator_bytes: int


@dataclass(frozen=True, slots=True)
class MeasuredMetrics:
    """What a profiler counted for one kernel; every figure that was not collected is None.

    Attributes:
        global_sectors_per_request: Nsight Compute's
            ``l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio``.
        shared_conflict_share: share of shared wavefronts that are conflicts, 0 to 1.
        achieved_occupancy: ``sm__warps_active.avg.pct_of_peak_sustained_active`` as a share.
        dram_bytes: read plus written, of one launch.
    """

    kernel: str
    global_sectors_per_request: float | None = None
    shared_conflict_share: float | None = None
    achieved_occupancy: float | None = None
    dram_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One figure with its unit: ``sectors per request: 32 sectors``. A plain count or share has no unit."""

    name: str
    value: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Limiter:
    """One thing that keeps a candidate from being faster.

    Attributes:
        kernel: that it was seen in; None where it is of the whole plan.
        share: of the time that it is estimated to cost, 0 to 1. An estimate to order limiters by, no promise.
        basis: whether its evidence is counted in the code, follows from a time, or was counted while running.
        action: one sentence on what to change.
    """

    name: LimiterName
    kernel: str | None
    share: float
    basis: Literal["static", "timed", "profiled"]
    evidence: tuple[Evidence, ...]
    action: str


@dataclass(frozen=True, slots=True)
class Roofline:
    """A measured time against what the task's bytes and operations cost at least.

    Attributes:
        bytes: of inputs, parameters and outputs, each once.
        flops: of contractions; 0 where the task has none.
        achieved_flops_per_s: None without contractions.
        memory_us: the bytes at the device's copy rate.
        arithmetic_us: the flops at its rate of matrix products at the candidate's precision.
        fraction: bound over time. Above 1 where caches or algebra beat the bound.
    """

    time_us: float
    bytes: int
    flops: int
    achieved_bytes_per_s: float
    achieved_flops_per_s: float | None
    memory_us: float
    arithmetic_us: float
    limit: Literal["memory", "arithmetic"]
    fraction: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where a candidate stands, and what limits it, the largest first.

    Attributes:
        roofline: None where no time or no ceiling is known.
        unknown: what could not be known and would matter, in words.
    """

    roofline: Roofline | None
    limiters: tuple[Limiter, ...]
    unknown: tuple[str, ...] = ()
