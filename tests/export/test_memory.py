"""Where a plan's storages lie during one call of an export."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from kforge.export.runtime.memory import Layout, Memory


def storage(number: int, role: str, size: int, align: int = 64) -> dict[str, Any]:
    return {"id": number, "role": role, "name": None, "bytes": size, "align": align}


def tensor(number: int, of: int, shape: list[int], strides: list[int], **more: object) -> dict[str, Any]:
    return {
        "id": number, "storage": of, "offset": 0, "dtype": "float32", "shape": shape, "strides": strides,
        **more,
    }  # fmt: skip


PLAN: dict[str, Any] = {
    "storages": [
        storage(0, "input", 32), storage(1, "alloc", 32), storage(2, "scratch", 100, 256),
        storage(3, "zeros", 8, 4096), storage(4, "op", 16), storage(5, "alloc", 64, 1024),
    ],
    "tensors": [
        tensor(0, 0, [2, 4], [4, 1]), tensor(1, 1, [2, 4], [4, 1]), tensor(2, 2, [4], [1], offset=2),
        tensor(3, 3, [4], [1], dtype="float16"), tensor(4, 4, [2, 2], [1, 2]),
        tensor(5, 5, [4, 2], [1, 4], offset=4),
        tensor(6, 0, [4], [2], offset=1),
    ],
    "outputs": [1, 5],
}  # fmt: skip
CPU = torch.device("cpu")


def test_everything_lies_where_its_alignment_says_and_nothing_overlaps() -> None:
    layout = Layout(PLAN)
    memory = Memory(layout, [torch.zeros(2, 4)], CPU)
    for part in PLAN["storages"]:
        if part["role"] != "op":
            assert memory.addresses[part["id"]] % part["align"] == 0
    ends = sorted((memory.addresses[s["id"]], s["bytes"]) for s in PLAN["storages"] if s["role"] != "op")
    for (start, size), (following, _) in pairwise(ends):
        assert start + size <= following
    assert layout.zeros == [(3, 8)]


def test_tensors_are_looks_at_their_storages() -> None:
    x = torch.arange(8.0).view(2, 4)
    memory = Memory(Layout(PLAN), [x], CPU)
    assert memory.tensor(0) is x
    assert memory.tensor(6).tolist() == [1.0, 3.0, 5.0, 7.0]
    assert memory.address(6) == x.data_ptr() + 4
    halves = memory.tensor(3)
    assert (halves.dtype, halves.data_ptr()) == (torch.float16, memory.addresses[3])
    made = torch.arange(4.0)
    memory.hold(4, made)
    assert memory.tensor(4).tolist() == [[0.0, 2.0], [1.0, 3.0]]


def test_outputs_own_their_memory() -> None:
    layout = Layout(PLAN)
    memory = Memory(layout, [torch.zeros(2, 4)], CPU)
    plain, strided = memory.outputs()
    assert plain.untyped_storage().nbytes() == 32
    assert strided.stride() == (1, 4)
    assert strided.data_ptr() == memory.addresses[5] + 16
    workspace = {memory.tensor(n).untyped_storage().data_ptr() for n in (2, 3)}
    assert len(workspace) == 1
    assert strided.untyped_storage().data_ptr() not in workspace
