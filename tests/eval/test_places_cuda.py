"""Where a CUDA plan lies in memory, on which stream its steps run, whether kernels take what they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.eval.arena import ALIGN_BYTES, GUARD_BYTES
from kforge.eval.cubin import CompiledKernel, CompiledParameter
from kforge.eval.cuda_devices import BUILD_TARGETS
from kforge.eval.cuda_layout import lay_out_plan
from kforge.eval.cuda_schedule import MAX_STREAMS, Place, schedule
from kforge.eval.layout_cuda import check_cuda_layout
from kforge.eval.plan import (
    BoundArg,
    BoundField,
    BoundPlan,
    BoundScalar,
    BoundStruct,
    BoundTensor,
    LaunchPlan,
    LaunchStep,
)

H100 = BUILD_TARGETS["sm_90a"]

# ---------------------------------------------------------------------------------------------- memory


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(0, 10_000), max_size=8))
def test_every_byte_beside_a_storage_is_guarded(sizes: list[int]) -> None:
    storages = [{"id": i, "role": "alloc", "bytes": size} for i, size in enumerate(sizes)]
    found = lay_out_plan(storages, [])
    covered = bytearray(found.size)
    for zone in found.zones:
        assert zone.stop - zone.start >= GUARD_BYTES
        for at in range(zone.start, zone.stop):
            covered[at] += 1
    for i, size in enumerate(sizes):
        begin = found.offsets[i]
        assert begin % ALIGN_BYTES == 0
        for at in range(begin, begin + size):
            covered[at] += 1
    assert set(covered) == ({1} if sizes else {0})


def test_results_of_operators_have_a_place_only_as_outputs() -> None:
    storages = [{"id": i, "role": "op", "bytes": 64} for i in range(2)]
    assert set(lay_out_plan(storages, [1]).offsets) == {1}


# --------------------------------------------------------------------------------------------- streams


def steps(*after: Sequence[int] | None) -> list[Mapping[str, Any]]:
    return [{} if entry is None else {"after": entry} for entry in after]


def test_without_after_everything_is_in_order() -> None:
    assert schedule(steps(None, None, None)) == (Place(0, (), False),) * 3


def test_independent_steps_overlap_and_are_waited_for() -> None:
    first, second, third = schedule(steps([], [], [0, 1]))
    assert (first.stream, second.stream) == (0, 1)
    assert third == Place(0, (1,), False)
    assert second.signals


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_step_runs_after_all_that_it_names(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 24))
    wanted: list[list[int] | None] = []
    for number in range(count):
        named = st.lists(st.integers(0, number - 1), max_size=4) if number else st.just([])
        wanted.append(data.draw(st.none() | named))
    places = schedule(steps(*wanted))
    assert max(place.stream for place in places) < MAX_STREAMS
    before: list[set[int]] = []  # what has surely ended when a step begins
    for number, place in enumerate(places):
        direct = {n for n in range(number) if places[n].stream == place.stream} | set(place.waits)
        before.append(direct.union(*(before[n] for n in direct)) if direct else direct)
        needed = wanted[number]
        assert before[number] >= set(range(number) if needed is None else needed)
        assert all(places[n].signals for n in place.waits)
    for stream in range(1, 1 + max(place.stream for place in places)):
        assert [p for p in places if p.stream == stream][-1].signals


# ---------------------------------------------------------------------------------- compiled parameters


def bound(*arguments: BoundArg, **attributes: Any) -> BoundPlan:  # noqa: ANN401
    step = LaunchStep(
        kernel="f", grid=(1,), block=attributes.pop("block", (128,)), args=(), kind="launch", **attributes
    )
    return BoundPlan(LaunchPlan(1, "cuda", (), (), (step,), (), ()), (arguments,))


def compiled(*sizes: int, **resources: Any) -> CompiledKernel:  # noqa: ANN401
    return CompiledKernel([CompiledParameter(0, size) for size in sizes], **resources)


POINTER, WORD = BoundTensor(0, True), BoundScalar("i32", 3)
STRUCT = BoundStruct(16, 8, (BoundField(0, POINTER), BoundField(8, WORD)))


def refused(kernel: CompiledKernel, plan: BoundPlan) -> str | None:
    found = check_cuda_layout({"f": kernel}, [plan], H100)
    return None if found is None else found.rule


def test_what_fits_passes() -> None:
    assert refused(compiled(8, 4, 16, registers=32), bound(POINTER, WORD, STRUCT)) is None


@pytest.mark.parametrize(
    ("kernel", "plan", "rule"),
    [
        (compiled(8), bound(POINTER, WORD), "layout"),
        (compiled(8, 8), bound(POINTER, WORD), "layout"),
        (compiled(24), bound(STRUCT), "layout"),
        (compiled(max_threads=64), bound(), "block"),
        (compiled(static_shared_bytes=40_000), bound(shared_bytes=200_000), "shared_memory"),
        (compiled(registers=255), bound(block=(1024,)), "registers"),
    ],
)
def test_what_does_not_fit_is_refused(kernel: CompiledKernel, plan: BoundPlan, rule: str) -> None:
    assert refused(kernel, plan) == rule


def test_a_kernel_that_was_compiled_away_is_refused() -> None:
    found = check_cuda_layout({}, [bound()], replace(H100))
    assert found is not None
    assert found.rule == "layout"
