"""Limiters that are seen in one kernel's code and geometry. Each rule takes what there is to explain.

``left`` is the share of the time that the roofline leaves over, times the kernel's share of the work.
"""

from __future__ import annotations

from collections.abc import Callable

from kforge.diagnosis_types import Evidence, GlobalAccess, Limiter, LimiterName, SharedAccess
from kforge.eval.advice import ADVICE
from kforge.eval.architectures import WARP
from kforge.eval.case import Running
from kforge.eval.pipes import ISSUES_PER_CYCLE, Pipes
from kforge.types import WorkloadSpec

# A ratio below which an excess is rounding: misaligned starts, edges.
NOTABLE = 1.1
# Every kernel computes addresses; from this share of its instructions on it does little else.
MOSTLY_INTEGER = 0.5
# Operations per byte from which on a task has operands to reuse.
REUSABLE = 8

Rule = Callable[[Running, WorkloadSpec, float], Limiter | None]


def _saved(k: Running, better: Pipes) -> float:
    """Share of the busiest pipe's time that a change would save."""
    return 1.0 - better.busiest / k.pipes.busiest if k.pipes.busiest > 0 else 0.0


def _limiter(k: Running, name: LimiterName, share: float, *evidence: Evidence) -> Limiter | None:
    profiled = k.metrics is not None and name in ("uncoalesced", "bank_conflicts")
    if share <= 0:
        return None
    return Limiter(name, k.launch.kernel, share, "profiled" if profiled else "static", evidence, ADVICE[name])


def uncoalesced(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """More sectors or lines per request than the bytes would fill.

    Source: CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory": a warp's accesses become as
    many 32-byte transactions as they touch.
    """
    lines, sectors = k.flaws.uncoalesced
    ratio = k.flaws.sectors_fetched / k.flaws.sectors_needed if k.flaws.sectors_needed else 1.0
    if ratio < NOTABLE and lines <= 0:
        return None
    wide = [a for a in k.launch.accesses if isinstance(a, GlobalAccess) and a.sectors > a.needed]
    stride = max((abs(a.stride_bytes or 0) for a in wide), default=0)
    apart = (Evidence("distance between neighbouring threads", stride, "bytes"),) if stride else ()
    return _limiter(
        k, "uncoalesced", left * _saved(k, k.pipes.without(lines=lines, sectors=sectors)),
        Evidence("sectors fetched per sector needed", ratio),
        Evidence("lines of the worst request", max((a.lines for a in wide), default=1)), *apart,
    )  # fmt: skip


def bank_conflicts(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """Shared memory requests that take several cycles because lanes want different words of one bank.

    Source: CUDA C++ Best Practices Guide, "Shared Memory and Memory Banks".
    """
    if k.flaws.wavefronts <= NOTABLE * k.flaws.wavefronts_needed:
        return None
    worst = (a.wavefronts / a.needed for a in k.launch.accesses if isinstance(a, SharedAccess))
    return _limiter(
        k, "bank_conflicts", left * _saved(k, k.pipes.without(lines=k.flaws.conflicts)),
        Evidence("shared wavefronts per wavefront needed", k.flaws.wavefronts / k.flaws.wavefronts_needed),
        Evidence("worst access", max(worst, default=1.0), "-way conflict"),
    )  # fmt: skip


def spills(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """Registers that did not fit and live in local memory, which is device memory behind the caches.

    Source: CUDA C++ Programming Guide, "Local Memory"; Best Practices Guide, "Register Pressure".
    """
    count = k.mix.spill_accesses
    if not count:
        return None
    lines, sectors = k.flaws.spills
    less = k.pipes.without(lines=lines, sectors=sectors, issue=count / ISSUES_PER_CYCLE)
    return _limiter(
        k, "spills", left * _saved(k, less),
        Evidence("stack", k.launch.frame_bytes, "bytes per thread"),
        Evidence("registers", k.launch.registers, "per thread"),
        Evidence("share of spill accesses among instructions", count / k.mix.total),
    )  # fmt: skip


def local_arrays(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """Arrays of a thread that are indexed by values not known to the compiler, and so live in local memory.

    Source: CUDA C++ Programming Guide, "Local Memory": arrays that are not indexed with constant quantities.
    """
    count = k.mix.array_accesses
    if not count:
        return None
    lines, sectors = k.flaws.arrays
    less = k.pipes.without(lines=lines, sectors=sectors, issue=count / ISSUES_PER_CYCLE)
    return _limiter(
        k, "local_arrays", left * _saved(k, less),
        Evidence("stack", k.launch.frame_bytes, "bytes per thread"),
        Evidence("share of local accesses among instructions", count / k.mix.total),
    )  # fmt: skip


def atomics(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """Atomics of a warp on one address are carried out one after the other.

    Source: CUDA C++ Programming Guide, "Atomic Functions": each is a read, a change and a write in one.
    """
    if not k.flaws.atomics:
        return None
    same = [
        a for a in k.launch.accesses
        if isinstance(a, GlobalAccess | SharedAccess) and a.atomic and a.stride_bytes == 0
    ]  # fmt: skip
    return _limiter(
        k, "atomics", left * _saved(k, k.pipes.without(lines=k.flaws.atomics)),
        Evidence("share of atomics among instructions", k.mix.atomics / k.mix.total),
        Evidence("share with all lanes on one address", sum(a.count for a in same) / max(k.mix.atomics, 1.0)),
    )  # fmt: skip


def double_precision(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """Arithmetic in double where no tensor of the task is double: most often a literal without its f.

    Source: CUDA C++ Best Practices Guide, "Arithmetic Instructions"; throughput table of the Programming
    Guide.
    """
    tensors = (*(i.tensor for i in workload.inputs if i.tensor), *workload.parameters, *workload.outputs)
    if not k.mix.fp64 or any(tensor.dtype == "float64" for tensor in tensors):
        return None
    single = k.mix.fp64 * WARP / k.limits.fp32_rate
    # A double is a pair of registers: its constants and results take twice the moves.
    moves = min(k.mix.fp64, k.mix.moves) / ISSUES_PER_CYCLE
    less = k.pipes.without(fp64=k.pipes.fp64, fp32=-single, issue=moves)
    return _limiter(
        k, "double_precision", left * _saved(k, less),
        Evidence("share of double among instructions", k.mix.fp64 / k.mix.total),
        Evidence("rate of double over single", k.limits.fp64_rate / k.limits.fp32_rate),
    )  # fmt: skip


def special_functions(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """The multi-function unit has an eighth of the multiply-adds' rate, or less.

    Source: CUDA C++ Programming Guide, throughput table: 16 results per cycle and SM.
    """
    if not k.mix.special or k.pipes.special < k.pipes.busiest:
        return None
    return _limiter(
        k, "special_functions", left * _saved(k, k.pipes.without(special=k.pipes.special)),
        Evidence("share of special functions among instructions", k.mix.special / k.mix.total),
        Evidence("rate", k.limits.special_rate, "results per cycle and SM"),
    )  # fmt: skip


def index_arithmetic(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """Integer work, most often divisions and remainders by values that the compiler does not know.

    Source: CUDA C++ Best Practices Guide, "Division Modulo Operations".
    """
    share = k.mix.integer / k.mix.total
    if share < MOSTLY_INTEGER:
        return None
    less = k.pipes.without(integer=k.pipes.integer, issue=k.mix.integer / ISSUES_PER_CYCLE)
    return _limiter(
        k, "index_arithmetic", left * _saved(k, less),
        Evidence("share of integer work among instructions", share),
    )  # fmt: skip


def little_reuse(k: Running, workload: WorkloadSpec, left: float) -> Limiter | None:
    """A contraction whose operands are fetched again for nearly every multiply-add.

    Source: CUDA C++ Programming Guide, "Shared Memory" (its matrix product); Williams et al. 2009,
    "Roofline", for the intensity that a task allows.
    """
    moved, clean = k.launch.tensor_bytes, k.clean
    if not clean.math or workload.flops < max(1, REUSABLE * moved):
        return None
    operands = max(clean.lines, clean.sectors)
    if operands <= NOTABLE * clean.math or operands < clean.busiest:
        return None
    from_shared = clean.lines > clean.sectors and k.flaws.wavefronts_needed > 0.5 * clean.lines
    return _limiter(
        k, "shared_traffic" if from_shared else "little_reuse",
        left * (operands - clean.math) / k.pipes.busiest,
        Evidence("cycles of operands per cycle of multiply-adds", operands / clean.math),
        Evidence("operations per byte that the task allows", workload.flops / max(moved, 1)),
    )  # fmt: skip


RULES: tuple[Rule, ...] = (
    uncoalesced, bank_conflicts, spills, local_arrays, atomics, double_precision, special_functions,
    index_arithmetic, little_reuse,
)  # fmt: skip
