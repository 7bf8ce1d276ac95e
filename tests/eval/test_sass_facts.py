"""Facts of real kernels, compiled to machine code: registers, memory, mix, and what their warps touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import pytest

from kforge.diagnosis_types import GlobalAccess, InstructionMix, SharedAccess, UnseenAccess
from tests.eval.sass.compiled import compiled, launched

pytestmark = pytest.mark.cuda
WIDE = (32, 8, 1)
TILE = (32, 32, 1)
N = 1024


@dataclass(frozen=True)
class Expected:
    """Facts of one kernel.

    Attributes:
        loads: width in bytes to weighted count of global loads, likewise the others; None: not asserted.
        touched: (store, sectors per request) of global accesses that must be among its accesses.
        banks: (store, wavefronts, needed) of shared accesses that must be among them.
        unseen: reasons that must be given, and no others.
        mix: counts of the mix: exactly this, or at least 1 where it is None.
        never: counts of the mix that must be zero.
        flying: bytes of loads that a thread has in flight.
    """

    block: tuple[int, int, int] = (256, 1, 1)
    ints: Mapping[int, int] = field(default_factory=dict)
    loads: Mapping[int, float] | None = None
    stores: Mapping[int, float] | None = None
    touched: tuple[tuple[bool, int], ...] = ()
    banks: tuple[tuple[bool, int, int], ...] = ()
    unseen: frozenset[str] = frozenset()
    mix: Mapping[str, float | None] = field(default_factory=dict)
    never: tuple[str, ...] = ("spill_accesses", "array_accesses")
    static_shared: int = 0
    flying: int | None = None


LOAD, STORE = False, True
COPY = ((LOAD, 4), (STORE, 4))
KERNELS: dict[str, Expected] = {
    "copy_scalar": Expected(loads={4: 1}, stores={4: 1}, touched=COPY, flying=4),
    "copy_float2": Expected(loads={8: 1}, stores={8: 1}, touched=((LOAD, 8), (STORE, 8)), flying=8),
    "copy_float4": Expected(loads={16: 1}, stores={16: 1}, touched=((LOAD, 16), (STORE, 16)), flying=16),
    "copy_half": Expected(loads={2: 1}, stores={2: 1}, touched=((LOAD, 2), (STORE, 2)), flying=2),
    "copy_byte": Expected(loads={1: 1}, stores={1: 1}, touched=((LOAD, 1), (STORE, 1)), flying=1),
    "grid_stride": Expected(ints={2: N}, loads={4: 10}, stores={4: 10}, touched=COPY, flying=4),
    "four_in_flight": Expected(ints={2: N}, loads={4: 40}, touched=COPY, flying=16),
    "every_second": Expected(loads={4: 1}, touched=((LOAD, 8), (STORE, 4)), flying=4),
    "both_of_a_pair": Expected(loads={4: 2}, touched=((LOAD, 8), (STORE, 4)), flying=8),
    "struct_by_parts": Expected(loads={4: 4}, touched=((LOAD, 16), (STORE, 4)), flying=16),
    "column": Expected(ints={2: N}, touched=((LOAD, 32), (STORE, 4)), flying=4),
    "row_per_thread": Expected(ints={2: N}, touched=((LOAD, 32), (STORE, 4)), flying=64),
    "row_per_block": Expected(ints={2: N}, touched=COPY, flying=64),
    "stride_from_memory": Expected(
        touched=((LOAD, 1), (STORE, 4)), unseen=frozenset({"run_time_stride"}), flying=4
    ),
    "broadcast": Expected(touched=((LOAD, 1), (STORE, 4)), flying=4),
    "gather": Expected(touched=COPY, unseen=frozenset({"depends_on_data"}), flying=4),
    "shifted": Expected(touched=((LOAD, 5), (STORE, 4)), flying=4),
    "reversed": Expected(ints={2: N}, touched=((STORE, 4),), flying=4),
    "transpose_naive": Expected(WIDE, {2: N}, touched=((LOAD, 4), (STORE, 32)), flying=4),
    "guarded": Expected(ints={2: N}, loads={4: 2}, touched=COPY, flying=8),
    "transpose_conflict": Expected(
        WIDE, {2: N}, touched=COPY, banks=((STORE, 1, 1), (LOAD, 32, 1)), mix={"barriers": 1},
        static_shared=4096, flying=64,
    ),
    "transpose_padded": Expected(
        WIDE, {2: N}, touched=COPY, banks=((STORE, 1, 1), (LOAD, 1, 1)), static_shared=4224, flying=64
    ),
    # XOR with a row that depends on a loop permutes banks, but what is not known stays unknown.
    "transpose_swizzled": Expected(
        WIDE, {2: N}, touched=COPY, unseen=frozenset({"not_followed"}), static_shared=4096, flying=16
    ),
    "shared_stride_two": Expected(
        touched=COPY, banks=((STORE, 1, 1), (LOAD, 2, 1)), static_shared=2048, flying=4
    ),
    "shared_broadcast": Expected(banks=((STORE, 1, 1), (LOAD, 4, 4)), static_shared=1024, flying=4),
    "shared_float4": Expected(banks=((STORE, 4, 4), (LOAD, 4, 4)), static_shared=4096, flying=16),
    "sum_interleaved": Expected(
        banks=((LOAD, 32, 1), (STORE, 32, 1), (STORE, 2, 1)), mix={"barriers": 8}, static_shared=1024,
        flying=4,
    ),
    "sum_sequential": Expected(banks=((LOAD, 1, 1), (STORE, 1, 1)), static_shared=1024, flying=4),
    "histogram": Expected(
        unseen=frozenset({"depends_on_data"}), mix={"atomics": 2, "barriers": 2}, static_shared=1024, flying=1
    ),
    "async_copy": Expected(loads={}, mix={"async_copies": 1}, static_shared=4096, flying=None),
    "much_shared": Expected(banks=((STORE, 1, 1),), static_shared=40960, flying=4),
    "fma_chain": Expected(ints={2: N}, mix={"fp32_fma": 640}, never=("fp64", "special", "matrix"), flying=4),
    "double_literals": Expected(
        ints={2: N}, mix={"fp64": None}, touched=COPY, flying=4
    ),
    "exponentials": Expected(ints={2: N}, mix={"special": 150}, never=("fp64",), flying=4),
    "halves": Expected(ints={2: N}, mix={"fp16": None}, never=("fp64", "matrix", "fp32_fma"), flying=4),
    "divisions": Expected(
        ints={2: N, 3: 30, 4: 50}, mix={"special": None, "integer": None}, unseen=frozenset({"not_followed"}),
        flying=4,
    ),
    "spilling": Expected(
        (1024, 1, 1), {2: N}, mix={"spill_accesses": None}, never=("array_accesses",), flying=None
    ),
    "local_array": Expected(ints={3: N}, mix={"array_accesses": None}, never=("fp64",), flying=None),
    "one_total": Expected(ints={2: N}, mix={"atomics": 10}, touched=((LOAD, 4), (STORE, 1)), flying=4),
    "spread_atomics": Expected(mix={"atomics": 1}, touched=COPY, flying=4),
    "warp_sum": Expected(mix={"shuffles": 5}, never=("barriers", "atomics"), touched=((LOAD, 4),), flying=4),
    "many_registers": Expected(ints={2: N}, mix={"fp32_fma": 1280}, touched=COPY, flying=512),
    "matmul_naive": Expected(WIDE, {3: N}, touched=((LOAD, 4), (LOAD, 1), (STORE, 4)), flying=None),
    "matmul_swapped": Expected(WIDE, {3: N}, touched=((LOAD, 32), (LOAD, 1), (STORE, 32)), flying=None),
    "matmul_tiled": Expected(
        TILE, {3: N}, touched=COPY, banks=((LOAD, 1, 1), (STORE, 1, 1)),
        mix={"fp32_fma": 320, "barriers": 20}, static_shared=8192, flying=8,
    ),
    "matmul_registers": Expected(
        ints={3: N}, mix={"fp32_fma": 5120, "barriers": 20}, never=("matrix", "spill_accesses"),
        static_shared=8192, flying=32,
    ),
    "matmul_wmma": Expected((128, 1, 1), {3: N}, mix={"matrix": 100}, never=("fp32_fma",), flying=None),
    "matmul_tf32": Expected((128, 1, 1), {3: N}, mix={"matrix": None}, never=("fp32_fma",), flying=None),
}  # fmt: skip


def mix_of(name: str, arch: str = "sm_90a") -> InstructionMix:
    _, facts = compiled(arch)
    found = next(kernel for kernel in facts.kernels if kernel.name == name).mix
    assert found is not None
    return found


def test_every_kernel_of_the_folder_has_its_facts_asserted() -> None:
    module, _ = compiled()
    assert set(module.code) - set(KERNELS) == {"dynamic_shared"}
    assert len(KERNELS) >= 30


@pytest.mark.parametrize("name", KERNELS)
def test_facts(name: str) -> None:
    expected, mix = KERNELS[name], mix_of(name)
    launch = launched(name, block=expected.block, ints=expected.ints)
    assert 8 <= launch.registers <= 168
    assert launch.static_shared_bytes == expected.static_shared
    assert (launch.frame_bytes > 0) == (mix.spill_accesses + mix.array_accesses > 0)
    for said, found in ((expected.loads, mix.global_loads), (expected.stores, mix.global_stores)):
        assert said is None or said == found
    for unit, count in expected.mix.items():
        assert getattr(mix, unit) >= 1 if count is None else getattr(mix, unit) == count, unit
    assert all(getattr(mix, unit) == 0 for unit in expected.never), mix
    widths = (mix.global_loads, mix.global_stores, mix.shared_loads, mix.shared_stores)
    counts = [getattr(mix, f.name) for f in fields(mix) if f.name not in ("total", "load_bytes_in_flight")]
    units = sum(count for count in counts if isinstance(count, float))
    assert units + sum(sum(width.values()) for width in widths) == mix.total
    if expected.flying is not None:
        assert mix.load_bytes_in_flight == expected.flying


@pytest.mark.parametrize("arch", ["sm_90a", "sm_80"])
@pytest.mark.parametrize("name", KERNELS)
def test_accesses(name: str, arch: str) -> None:
    expected = KERNELS[name]
    launch = launched(name, block=expected.block, ints=expected.ints, arch=arch)
    touched = {(a.store, a.sectors) for a in launch.accesses if isinstance(a, GlobalAccess)}
    assert set(expected.touched) <= touched, launch.accesses
    if arch == "sm_90a":
        banks = {(a.store, a.wavefronts, a.needed) for a in launch.accesses if isinstance(a, SharedAccess)}
        assert set(expected.banks) <= banks, launch.accesses
        unseen = {a.why for a in launch.accesses if isinstance(a, UnseenAccess)}
        assert unseen <= expected.unseen | {"depends_on_data", "not_followed"}
        assert expected.unseen <= unseen, launch.accesses


@pytest.mark.parametrize("arch", ["sm_75", "sm_86", "sm_100a", "sm_120a"])
def test_other_architectures_are_read_too(arch: str) -> None:
    for name in ("copy_float4", "column", "transpose_naive", "row_per_block", "guarded"):
        expected = KERNELS[name]
        launch = launched(name, block=expected.block, ints=expected.ints, arch=arch)
        touched = {(a.store, a.sectors) for a in launch.accesses if isinstance(a, GlobalAccess)}
        assert set(expected.touched) <= touched, (name, launch.accesses)


def test_neighbours_share_the_sectors_that_they_both_touch() -> None:
    alone = [a for a in launched("every_second").accesses if isinstance(a, GlobalAccess) and not a.store]
    pair = [a for a in launched("both_of_a_pair").accesses if isinstance(a, GlobalAccess) and not a.store]
    assert [(a.fetched, a.needed) for a in alone] == [(8, 4)]
    assert [(a.fetched, a.needed, a.count) for a in pair] == [(4, 4, 2)]


def test_dynamic_shared_memory_is_of_the_launch() -> None:
    small, large = (launched("dynamic_shared", shared_bytes=size) for size in (1024, 100_000))
    assert (small.dynamic_shared_bytes, large.dynamic_shared_bytes) == (1024, 100_000)
    assert small.occupancy is not None
    assert large.occupancy is not None
    assert (small.occupancy.blocks_per_sm, small.occupancy.limits) == (8, ("warps",))
    assert (large.occupancy.blocks_per_sm, large.occupancy.limits) == (2, ("shared_memory",))
    assert large.waves == 1024 / (2 * 132)
