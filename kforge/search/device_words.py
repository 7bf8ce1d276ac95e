"""A device in the words of a prompt, with the names under which a plan finds each figure in ``k.device``."""

from __future__ import annotations

from typing import assert_never, get_args

from kforge.bounds import flops_per_s
from kforge.types import Ceilings, DeviceInfo, Precision


def device_lines(device: DeviceInfo, ceilings: Ceilings | None) -> list[str]:
    """What a proposer has to know of the device; its driver and selector are not among it."""
    match device.language:
        case "cuda":
            lines = _cuda_lines(device)
        case "sycl":
            lines = _sycl_lines(device)
        case _:
            assert_never(device.language)
    if ceilings is not None:
        precisions: tuple[Precision, ...] = get_args(Precision)
        rates = ", ".join(f"{flops_per_s(ceilings, p) / 1e12:,.0f} TFLOP/s {p}" for p in precisions)
        copied = f"{ceilings.copy_bytes_per_s / 1e9:,.0f} GB/s"
        lines.append(f"measured: copies {copied} (bytes read plus bytes written); matrix products {rates}")
    return lines


def _cuda_lines(device: DeviceInfo) -> list[str]:
    lines = [
        f"{device.name}, a GPU: arch {device.arch}, sm_count {device.sm_count}, warp_size {device.warp_size}",
        f"per SM: shared_per_sm {device.shared_per_sm} bytes of shared memory, regs_per_sm "
        f"{device.regs_per_sm} registers of 32 bits, max_threads_per_sm {device.max_threads_per_sm}",
        f"per block: at most shared_optin {device.shared_optin} bytes of shared memory and max_work_group "
        f"{device.max_work_group} threads",
        f"l2_bytes {device.l2_bytes}, memory_bytes {device.memory_bytes}",
    ]
    if device.max_cluster >= 2:
        lines.append(f"clusters of at most max_cluster {device.max_cluster} blocks; tensor memory copies")
    return lines


def _sycl_lines(device: DeviceInfo) -> list[str]:
    kind = "CPU: work-items of a group are vectorised, barriers are costly" if device.is_cpu else "GPU"
    return [
        f"{device.name} ({device.arch}, {device.backend}), a {kind}",
        f"compute units: sm_count {device.sm_count}; sub-group size: warp_size {device.warp_size}",
        f"per work-group: at most max_work_group {device.max_work_group} work-items and shared_optin "
        f"{device.shared_optin} bytes of local memory",
        f"l2_bytes {device.l2_bytes}, memory_bytes {device.memory_bytes}",
    ]
