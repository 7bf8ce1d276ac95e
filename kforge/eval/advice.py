"""What to do about each limiter: one sentence that a model can act on."""

from __future__ import annotations

from collections.abc import Mapping

from kforge.diagnosis_types import LimiterName, Occupancy

ADVICE: Mapping[LimiterName, str] = {
    "memory_bandwidth": (
        "Device memory is the limit: only fewer bytes help, by fusing what follows or by smaller types."
    ),
    "arithmetic": (
        "Arithmetic is the limit: only fewer operations help, or a cheaper precision where the task "
        "allows it."
    ),
    "launch_overhead": (
        "Do the same in fewer launches by fusing steps; a single short kernel is at its floor."
    ),
    "too_few_blocks": (
        "Split the work over at least as many blocks as there are SMs: smaller tiles, or several "
        "blocks per row with a second pass."
    ),
    "partial_warps": "Make the block a multiple of 32 threads, 128 or more.",
    "tail_wave": (
        "Choose a grid that is a whole number of waves: grid={'waves': n} with a loop in the kernel."
    ),
    "uncoalesced": (
        "Let neighbouring threads (threadIdx.x) touch neighbouring addresses; where both sides "
        "cannot, stage a tile through shared memory."
    ),
    "bank_conflicts": (
        "Pad the rows of the shared array by one element (tile[32][33]), or swizzle its columns with XOR."
    ),
    "spills": (
        "Keep fewer values alive per thread: smaller register tiles, less unrolling, or a "
        "__launch_bounds__ that allows more registers."
    ),
    "local_arrays": (
        "Unroll the loops that index the thread's own array, so that every index is a constant, or "
        "put it into shared memory."
    ),
    "low_occupancy": "Let more warps fit on an SM.",
    "few_bytes_in_flight": (
        "Issue several independent loads before the first is used: unroll by 4, or load 16 bytes "
        "(float4) at a time."
    ),
    "no_tensor_cores": (
        "Do the products on tensor cores (wmma, mma.sync or wgmma): the declared precision allows them."
    ),
    "little_reuse": (
        "Stage tiles of both operands in shared memory and let every thread compute several outputs "
        "from registers."
    ),
    "shared_traffic": (
        "Give each thread a register tile (8 by 8) and 16-byte shared loads, so that each operand "
        "serves many multiply-adds."
    ),
    "extra_traffic": "Fuse the steps so that intermediate results stay in registers or shared memory.",
    "library_operators": (
        "A library operator writes its result to memory: replace it, or compute it in your own kernel"
        " with what follows."
    ),
    "atomics": (
        "Reduce within the warp (__shfl_xor_sync) and the block first, then make one atomic per block."
    ),
    "double_precision": (
        "No tensor is double: write literals with f (0.5f), call expf and sqrtf, keep sums in float."
    ),
    "special_functions": (
        "Evaluate fewer exponentials, roots and divisions: share them between outputs, multiply by a "
        "reciprocal, or use a polynomial."
    ),
    "index_arithmetic": (
        "Move index arithmetic out of the loop: running pointers, shapes as compile-time constants "
        "(TUNE), shifts for powers of two."
    ),
    "unexplained": (
        "Nothing in the code explains the time above the bound: profile it, or look for waits between steps."
    ),
}


def occupancy_advice(fits: Occupancy) -> str:
    """Which resource to give back, so that more warps fit on an SM."""
    if "shared_memory" in fits.limits:
        return "Use less shared memory per block (smaller tiles, fewer stages), so that more blocks fit."
    if "registers" in fits.limits:
        return "Use fewer registers per thread (smaller tiles, __launch_bounds__), so that more warps fit."
    return "Use larger blocks: the number of blocks per SM is the limit, so each must bring more warps."
