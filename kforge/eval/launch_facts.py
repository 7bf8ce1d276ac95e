"""What a plan launches, kernel by kernel: geometry, occupancy, waves, and how its warps address memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kforge.diagnosis_types import Access, LaunchFacts, PlanFacts
from kforge.eval import lanes
from kforge.eval.accesses import accesses
from kforge.eval.address_flow import requests
from kforge.eval.architectures import WARP, architecture
from kforge.eval.cubin import CompiledKernel, CompiledParameter
from kforge.eval.lanes import Known, Value
from kforge.eval.occupancy import occupancy
from kforge.eval.plan import (
    BoundArg,
    BoundPlan,
    BoundScalar,
    BoundStruct,
    LaunchPlan,
    LaunchStep,
    OpStep,
    TensorArg,
    Waves,
    tensors_of,
)
from kforge.eval.sass import Placed
from kforge.eval.warp_reading import Surroundings
from kforge.types import DTYPE_BYTES, DeviceInfo

# Instructions of a plan whose addresses are followed, of all kinds of launches: a few seconds' work.
MAX_FOLLOWED = 50_000
_INTEGERS = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "u8": 1, "u16": 2, "u32": 4, "u64": 8, "b8": 1}
# Where block and grid dimensions lie in constant bank 0, by where parameters begin: read off compiled code.
_NEW_PARAMETER_BASE, _NEW_DIMENSIONS = 0x380, 0x360


@dataclass(frozen=True, slots=True)
class Module:
    """A compiled module: kernels as the cubin describes them, and their instructions."""

    kernels: Mapping[str, CompiledKernel]
    code: Mapping[str, tuple[Placed, ...]]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape of one launch, both as (x, y, z); shared memory is the dynamic part, in bytes."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int

    @property
    def threads(self) -> int:
        """Per block."""
        return math.prod(self.block)


def plan_facts(bound: BoundPlan, module: Module, device: DeviceInfo) -> PlanFacts:
    """Facts of one workload's plan; launches of equal geometry are one entry."""
    found: dict[tuple[str, Geometry], LaunchFacts] = {}
    followed = 0
    steps = [step for step in bound.plan.steps if isinstance(step, LaunchStep)]
    for step, arguments in zip(steps, bound.launches, strict=True):
        geometry = _geometry(step, module.kernels[step.kernel], device)
        key = (step.kernel, geometry)
        if key in found:
            found[key] = replace(found[key], launches=found[key].launches + 1)
            continue
        followed += len(module.code[step.kernel])
        constants = constants_of(module.kernels[step.kernel], arguments, geometry)
        facts = launch_facts(
            step.kernel, geometry, module, device, constants=constants if followed <= MAX_FOLLOWED else None
        )
        found[key] = replace(
            facts, tensor_bytes=_touched(bound.plan, [t for a in step.args for t in tensors_of(a)])
        )
    operators = [step for step in bound.plan.steps if isinstance(step, OpStep)]
    moved = sum(
        _touched(bound.plan, [*(a.id for a in step.args if isinstance(a, TensorArg)), step.out])
        for step in operators
    )
    return PlanFacts(tuple(found.values()), tuple(step.name for step in operators), moved)


def launch_facts(
    name: str,
    geometry: Geometry,
    module: Module,
    device: DeviceInfo,
    *,
    constants: Mapping[int, Value] | None,
) -> LaunchFacts:
    """Facts of one launch.

    Args:
        name: of the kernel.
        geometry: of the launch.
        module: that it is in.
        device: that it is for.
        constants: of ``constants_of``; None where addresses are not to be followed.
    """
    kernel, limits = module.kernels[name], architecture(device.arch)
    shared = kernel.static_shared_bytes + geometry.shared_bytes
    fits = None if limits is None else occupancy(
        limits, threads=geometry.threads, registers=kernel.registers, shared_bytes=shared
    )  # fmt: skip
    blocks = math.prod(geometry.grid)
    return LaunchFacts(
        kernel=name, launches=1, blocks=blocks, threads_per_block=geometry.threads,
        static_shared_bytes=kernel.static_shared_bytes, dynamic_shared_bytes=geometry.shared_bytes,
        registers=kernel.registers, frame_bytes=kernel.frame_bytes, occupancy=fits,
        waves=None if fits is None else blocks / (fits.blocks_per_sm * device.sm_count), tensor_bytes=0,
        accesses=() if constants is None else _accesses(module.code[name], geometry, constants),
    )  # fmt: skip


def _accesses(
    code: Sequence[Placed], geometry: Geometry, constants: Mapping[int, Value]
) -> tuple[Access, ...]:
    width, height, _ = geometry.block
    lane = range(lanes.LANES)
    threads = (
        Known(tuple(i % width for i in lane), lanes.WORD),
        Known(tuple(i // width % height for i in lane), lanes.WORD),
        Known(tuple(i // width // height for i in lane), lanes.WORD),
        Known(tuple(lane), lanes.WORD),
    )
    return accesses(requests(code, Surroundings(threads, constants)), min(WARP, geometry.threads))


def constants_of(
    kernel: CompiledKernel, arguments: Sequence[BoundArg], geometry: Geometry
) -> dict[int, Value]:
    """What of the first constant bank a launch makes known: dimensions, and integers among the arguments."""
    base = kernel.parameter_base
    if base is None:
        return {}
    dimensions = _NEW_DIMENSIONS if base >= _NEW_PARAMETER_BASE else 0
    shape = (*geometry.block, *geometry.grid)
    known: dict[int, Value] = {dimensions + 4 * n: lanes.constant(value) for n, value in enumerate(shape)}
    for argument, parameter in zip(arguments, kernel.parameters, strict=False):
        _note(known, base + parameter.offset, argument, parameter)
    return known


def _note(known: dict[int, Value], at: int, argument: BoundArg, parameter: CompiledParameter) -> None:
    if isinstance(argument, BoundStruct):
        for member in argument.fields:
            if isinstance(member.arg, BoundScalar):
                _note(known, at + member.offset, member.arg, parameter)
        return
    size = _INTEGERS.get(argument.type) if isinstance(argument, BoundScalar) else None
    if isinstance(argument, BoundScalar) and size in (4, 8):
        value = int(argument.value)
        for step in range(0, size, 4):
            known[at + step] = lanes.constant(value >> 8 * step)


def _geometry(step: LaunchStep, kernel: CompiledKernel, device: DeviceInfo) -> Geometry:
    block = _three(step.block)
    if not isinstance(step.grid, Waves):
        return Geometry(_three(step.grid), block, step.shared_bytes)
    limits = architecture(device.arch)
    shared = kernel.static_shared_bytes + step.shared_bytes
    fits = None if limits is None else occupancy(
        limits, threads=math.prod(block), registers=kernel.registers, shared_bytes=shared
    )  # fmt: skip
    resident = fits.blocks_per_sm if fits else 1
    return Geometry((step.grid.waves * resident * device.sm_count, 1, 1), block, step.shared_bytes)


def _three(extents: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (*extents, 1, 1)[:3]
    return x, y, z


def _touched(plan: LaunchPlan, tensors: Sequence[int]) -> int:
    """Bytes of these tensors; what two of them share of a storage counts once."""
    per_storage: dict[int, int] = {}
    for number in dict.fromkeys(tensors):
        tensor = plan.tensors[number]
        size = math.prod(tensor.shape) * DTYPE_BYTES[tensor.dtype]
        whole = plan.storages[tensor.storage].bytes
        per_storage[tensor.storage] = min(whole, per_storage.get(tensor.storage, 0) + size)
    return sum(per_storage.values())
