"""Does the compiled CUDA kernel take what the plan binds to it, and can a block of it run at all?

Signatures are parsed from text, which macros can bend; the cubin cannot lie. The driver checks neither sizes
nor counts of parameters, so every bound argument is held against the compiled parameter here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import assert_never

from kforge.eval.cubin import CompiledKernel
from kforge.eval.parameter_types import SCALAR_BYTES
from kforge.eval.plan import (
    BoundArg,
    BoundArray,
    BoundLocal,
    BoundPlan,
    BoundScalar,
    BoundStruct,
    BoundTensor,
    BoundTensorMap,
    LaunchStep,
)
from kforge.types import DeviceInfo, ScreenedOut

TENSOR_MAP_BYTES = 128
# CUDA programming guide, "Technical Specifications per Compute Capability": registers come per warp, in 256s.
_REGISTER_UNIT = 256


def check_cuda_layout(
    kernels: Mapping[str, CompiledKernel], plans: Iterable[BoundPlan], device: DeviceInfo
) -> ScreenedOut | None:
    """Compare every launch with its kernel as compiled.

    Args:
        kernels: of the cubin, by name.
        plans: one per workload.
        device: that they will run on.
    """
    for bound in plans:
        steps = [step for step in bound.plan.steps if isinstance(step, LaunchStep)]
        for step, arguments in zip(steps, bound.launches, strict=True):
            kernel = kernels.get(step.kernel)
            if kernel is None:
                return ScreenedOut(f"the compiled module has no kernel {step.kernel!r}", "layout")
            refused = _parameters(step.kernel, kernel, arguments) or _resources(step, kernel, device)
            if refused is not None:
                return refused
    return None


def _parameters(name: str, kernel: CompiledKernel, arguments: tuple[BoundArg, ...]) -> ScreenedOut | None:
    if len(arguments) != len(kernel.parameters):
        return ScreenedOut(
            f"kernel {name} was compiled with {len(kernel.parameters)} parameters; its declaration reads as "
            f"{len(arguments)}",
            "layout",
        )
    for position, (argument, parameter) in enumerate(zip(arguments, kernel.parameters, strict=True)):
        size = _bytes(argument)
        if size != parameter.size:
            hint = "give k.struct its members in the order and types that SOURCE declares"
            if not isinstance(argument, BoundStruct):
                hint = "write the type out, without macros that change it"
            return ScreenedOut(
                f"kernel {name}: parameter {position} was compiled as {parameter.size} bytes, the plan gives "
                f"{size}; {hint}",
                "layout",
            )
    return None


def _bytes(argument: BoundArg) -> int:
    match argument:
        case BoundTensor() | BoundArray():
            return 8
        case BoundScalar(type=kind):
            return SCALAR_BYTES[kind]
        case BoundTensorMap():
            return TENSOR_MAP_BYTES
        case BoundStruct(bytes=size) | BoundLocal(bytes=size):
            return size
        case _:
            assert_never(argument)


def _resources(step: LaunchStep, kernel: CompiledKernel, device: DeviceInfo) -> ScreenedOut | None:
    threads = math.prod(step.block)
    what = f"k.launch({step.kernel!r})"
    if kernel.max_threads is not None and threads > kernel.max_threads:
        return ScreenedOut(
            f"{what}: block {step.block} has {threads} threads; the kernel's __launch_bounds__ allow "
            f"{kernel.max_threads}",
            "block",
        )
    shared = kernel.static_shared_bytes + step.shared_bytes
    if shared > device.shared_optin:
        return ScreenedOut(
            f"{what}: {kernel.static_shared_bytes} bytes of static and {step.shared_bytes} of dynamic shared "
            f"memory; the device gives a block at most {device.shared_optin}",
            "shared_memory",
        )
    warps = -(-threads // device.warp_size)
    per_warp = -(-kernel.registers * device.warp_size // _REGISTER_UNIT) * _REGISTER_UNIT
    if per_warp * warps > device.regs_per_sm:
        return ScreenedOut(
            f"{what}: {kernel.registers} registers a thread times {threads} threads are more than the "
            f"{device.regs_per_sm} of an SM; use smaller blocks, or __launch_bounds__({threads})",
            "registers",
        )
    return None
