"""Can this device run this launch at all? Grid, block, shared memory, clusters, tensor maps, by language."""

from __future__ import annotations

import math
from typing import Protocol, assert_never

from kforge.eval.plan import (
    ArrayArg,
    LaunchPlan,
    LaunchStep,
    LocalArg,
    StructArg,
    TensorMap,
    TensorMapArg,
    Waves,
    tensors_of,
)
from kforge.eval.planning.tensor_maps import MAP_TYPE_BYTES
from kforge.types import DTYPE_BYTES, DeviceInfo, ScreenedOut

# SYCL compilers let kernels hold ids in an int unless told otherwise.
MAX_WORK_ITEMS = 2**31 - 1
# CUDA programming guide, "Technical Specifications per Compute Capability".
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_BLOCK = (1024, 1024, 64)
NONPORTABLE_CLUSTER = 16
# CUDA driver API, cuTensorMapEncodeTiled.
MAX_BOX = 256
SWIZZLE_BYTES = {"32b": 32, "64b": 64, "128b": 128}


class Refused(Exception):
    """Carries (rule, reason) out of the checks; never leaves the plan's validation."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = ScreenedOut(reason, rule)


def check_launch(plan: LaunchPlan, step: LaunchStep, number: int, device: DeviceInfo) -> None:
    """Refuse a launch that cannot run.

    Raises:
        Refused: with the rule and the reason for its author.
    """
    what = f"k.launch({step.kernel!r})"
    _check_extents(step, what, device)
    for arg in step.args:
        for tensor in tensors_of(arg):
            if tensor >= len(plan.tensors):
                raise Refused("plan_form", f"{what} names tensor {tensor}, which does not exist")
    match plan.language:
        case "sycl":
            _check_sycl(step, what, device)
        case "cuda":
            _check_cuda(plan, step, number, device)
        case _:
            assert_never(plan.language)


def _check_extents(step: LaunchStep, what: str, device: DeviceInfo) -> None:
    shapes = [("block", step.block)]
    if isinstance(step.grid, tuple):
        shapes.append(("grid", step.grid))
    if step.cluster is not None:
        shapes.append(("cluster", step.cluster))
    for label, extents in shapes:
        if any(extent < 1 for extent in extents):
            raise Refused("grid", f"{what}: {label} {extents} has an extent below 1")
    if math.prod(step.block) > device.max_work_group:
        raise Refused("block", f"{what}: block {step.block} has {math.prod(step.block)} work-items; "
                      f"the device allows {device.max_work_group}")  # fmt: skip


def _check_sycl(step: LaunchStep, what: str, device: DeviceInfo) -> None:
    cuda_only: dict[str, object] = {
        "grid={'waves': n}": isinstance(step.grid, Waves),
        "shared_bytes": step.shared_bytes,
        "cooperative": step.cooperative,
        "cluster": step.cluster,
        "nonportable_cluster": step.nonportable_cluster,
        "pdl": step.pdl,
        "carveout": step.carveout,
        "after": step.after,
        "k.tensor_map": any(isinstance(arg, TensorMapArg) for arg in step.args),
        "k.struct": any(isinstance(arg, StructArg) for arg in step.args),
        "k.pointers": any(isinstance(arg, ArrayArg) for arg in step.args),
    }
    for name, used in cuda_only.items():
        if used:
            raise Refused("language", f"{what}: {name} is not available for sycl")
    assert isinstance(step.grid, tuple)
    if len(step.grid) != len(step.block):
        raise Refused("grid", f"{what}: grid has {len(step.grid)} dimensions, block has {len(step.block)}")
    items = math.prod(step.grid) * math.prod(step.block)
    if items > MAX_WORK_ITEMS:
        raise Refused("grid", f"{what}: grid {step.grid} x block {step.block} is {items} work-items; "
                      f"{MAX_WORK_ITEMS} is the limit")  # fmt: skip
    local_bytes = sum(arg.count * DTYPE_BYTES[arg.dtype] for arg in step.args if isinstance(arg, LocalArg))
    if local_bytes > device.shared_optin:
        raise Refused("local_memory", f"{what}: {local_bytes} bytes of local memory; the device has "
                      f"{device.shared_optin} per work-group")  # fmt: skip


def _check_cuda(plan: LaunchPlan, step: LaunchStep, number: int, device: DeviceInfo) -> None:
    what = f"k.launch({step.kernel!r})"
    if any(isinstance(arg, LocalArg) for arg in step.args):
        raise Refused("language", f"{what}: k.local is not available for cuda; use shared_bytes")
    for label, extents, limits in (("block", step.block, MAX_BLOCK), ("grid", step.grid, MAX_GRID)):
        if isinstance(extents, tuple) and any(n > limit for n, limit in zip(extents, limits, strict=False)):
            raise Refused("grid", f"{what}: {label} {extents} is above the limit {limits}")
    if step.shared_bytes > device.shared_optin:
        raise Refused("shared_memory", f"{what}: {step.shared_bytes} bytes of dynamic shared memory; the "
                      f"device gives a block at most {device.shared_optin}")  # fmt: skip
    if step.after is not None and any(n >= number for n in step.after):
        raise Refused(
            "plan_form", f"{what}: after={list(step.after)} names a step that is not before step {number}"
        )
    _check_cluster(step, what, device)
    for arg in step.args:
        for part in arg.items if isinstance(arg, ArrayArg) else (arg,):
            if isinstance(part, TensorMapArg):
                _check_map(plan, part, what, device)


def _check_cluster(step: LaunchStep, what: str, device: DeviceInfo) -> None:
    if step.cluster is None:
        if step.nonportable_cluster:
            raise Refused("cluster", f"{what}: nonportable_cluster needs cluster=(x, y, z)")
        return
    if device.max_cluster < 2:
        raise Refused("cluster", f"{what}: {device.name} ({device.arch}) has no thread block clusters")
    size = math.prod(step.cluster)
    limit = NONPORTABLE_CLUSTER if step.nonportable_cluster else device.max_cluster
    if size > limit:
        hint = "" if step.nonportable_cluster else "; nonportable_cluster=True allows 16"
        raise Refused(
            "cluster", f"{what}: cluster {step.cluster} has {size} blocks; {limit} is the limit{hint}"
        )
    if not isinstance(step.grid, tuple):
        if size != step.cluster[0]:
            raise Refused("cluster", f"{what}: with grid={{'waves': n}} a cluster has one dimension")
        return
    grid = (*step.grid, 1, 1)
    if any(grid[i] % extent for i, extent in enumerate(step.cluster)):
        raise Refused("cluster", f"{what}: cluster {step.cluster} does not divide grid {step.grid}")


def _check_map(plan: LaunchPlan, arg: TensorMapArg, what: str, device: DeviceInfo) -> None:
    described = arg.map
    if device.max_cluster < 2:  # clusters and TMA came with the same architecture
        raise Refused("tensor_map", f"{what}: {device.name} ({device.arch}) has no tensor memory accelerator")

    def require(holds: bool, reason: str) -> None:
        if not holds:
            raise Refused("tensor_map", f"{what}: k.tensor_map {reason}")

    rank, width = len(described.dims), MAP_TYPE_BYTES[described.dtype]
    require(len(described.strides_bytes) == rank - 1, f"needs {rank - 1} strides for {rank} dimensions")
    require(all(1 <= n < 2**32 for n in described.dims), f"dims {described.dims} must be in 1..2^32-1")
    require(
        all(n % 16 == 0 and 0 < n < 2**40 for n in described.strides_bytes),
        f"strides {described.strides_bytes} (bytes) must be multiples of 16 below 2^40",
    )
    require(
        len(described.element_strides) == rank and all(1 <= n <= 8 for n in described.element_strides),
        f"element_strides {described.element_strides} must be {rank} numbers in 1..8",
    )
    _check_box(described, rank, width, require)
    require(described.interleave == "none" or rank >= 3, "interleave needs at least 3 dimensions")
    tensor, storage = plan.tensors[arg.id], plan.storage_of(arg.id)
    start = tensor.offset * DTYPE_BYTES[tensor.dtype] + described.offset_bytes
    require(start % 16 == 0, f"starts at byte {start}, which must be a multiple of 16")
    strides = (width, *described.strides_bytes)
    end = start + width + sum((n - 1) * s for n, s in zip(described.dims, strides, strict=True))
    require(end <= storage.bytes, f"ends at byte {end} of a buffer of {storage.bytes} bytes")


class _Require(Protocol):
    def __call__(self, holds: bool, reason: str) -> None: ...


def _check_box(described: TensorMap, rank: int, width: int, require: _Require) -> None:
    if described.map_kind == "im2col":
        require(rank >= 3, "kind 'im2col' needs at least 3 dimensions")
        require(
            described.channels_per_pixel is not None and 1 <= described.channels_per_pixel <= MAX_BOX
            and described.pixels_per_column is not None and 1 <= described.pixels_per_column <= 1024
            and described.lower_corner is not None and len(described.lower_corner) == rank - 2
            and described.upper_corner is not None and len(described.upper_corner) == rank - 2,
            f"kind 'im2col' needs channels_per_pixel in 1..256, pixels_per_column in 1..1024 and {rank - 2} "
            "numbers in each corner",
        )  # fmt: skip
        return
    require(len(described.box) == rank, f"box {described.box} needs {rank} extents, x first")
    require(all(1 <= n <= MAX_BOX for n in described.box), f"box {described.box} must be in 1..{MAX_BOX}")
    if described.interleave != "none":  # there the innermost rows are the hardware's own
        return
    inner = described.box[0] * width
    require(inner % 16 == 0, f"box rows have {inner} bytes; they must be a multiple of 16")
    limit = SWIZZLE_BYTES.get(described.swizzle)
    require(
        limit is None or inner <= limit,
        f"box rows have {inner} bytes, more than swizzle {described.swizzle!r} allows",
    )
