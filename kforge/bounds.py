"""What a task costs at least on a device: its bytes at the copy rate, its contractions at the product rate.

``bound_us = max(bytes / copy rate, flops / rate)``: every input, parameter and output crosses device memory
once, and contractions run at the rate of a large matrix product at the same precision; both rates are
measured. It is a yardstick, not a law: outputs that stay in a cache, or algebra that needs fewer operations
than the reference's contractions, can beat it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from kforge.types import DTYPE_BYTES, Ceilings, Precision, TensorSpec, WorkloadSpec

Limit = Literal["memory", "arithmetic"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time of one workload by each of the two limits, microseconds."""

    memory_us: float
    arithmetic_us: float

    @property
    def bound_us(self) -> float:
        """The larger of the two: neither can be undercut by the other."""
        return max(self.memory_us, self.arithmetic_us)

    @property
    def limit(self) -> Limit:
        """Which of the two it is."""
        return "memory" if self.memory_us >= self.arithmetic_us else "arithmetic"


def traffic_bytes(workload: WorkloadSpec) -> int:
    """Bytes of every input, parameter and output, each once. Buffers need not be read and do not count."""
    inputs = (spec.tensor for spec in workload.inputs if spec.tensor is not None)
    return sum(_bytes(tensor) for tensor in (*inputs, *workload.parameters, *workload.outputs))


def flops_per_s(ceilings: Ceilings, precision: Precision) -> float:
    """The measured rate of matrix products at a precision."""
    match precision:
        case "ieee":
            return ceilings.ieee_flops
        case "tf32":
            return ceilings.tf32_flops
        case "fp16":
            return ceilings.fp16_flops
        case "bf16":
            return ceilings.bf16_flops
        case _:
            assert_never(precision)


def bound_of(workload: WorkloadSpec, ceilings: Ceilings, precision: Precision) -> Bound:
    """The bound of one workload at a precision, against measured ceilings."""
    return Bound(
        memory_us=1e6 * traffic_bytes(workload) / ceilings.copy_bytes_per_s,
        arithmetic_us=1e6 * workload.flops / flops_per_s(ceilings, precision),
    )


def _bytes(tensor: TensorSpec) -> int:
    count = DTYPE_BYTES[tensor.dtype]
    for extent in tensor.shape:
        count *= extent
    return count
