"""A kernel on the CPU device that scans its own process for the reference output finds none."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kforge.clock import SystemClock
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.candidate import parse_candidate
from kforge.eval.contender import Contender
from kforge.eval.pipeline import build_candidate
from kforge.eval.protocol import DEFAULT_PROTOCOL
from kforge.eval.sycl_runtime import ensure_shim
from kforge.eval.workbench import Workbench
from kforge.types import Built, CandidateSource, DeviceInfo
from tests.eval import scanner

TASK = str(Path(__file__).parent / "rows_task.py")
SCANNER = r"""
LANGUAGE = "sycl"
SOURCE = r'''
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;
// masked = wanted ^ mask, so that the wanted value itself stands nowhere
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void scan(const float* x, float* y, long start, long words, long masked, long mask) {
  auto it = sx::this_work_item::get_nd_item<1>();
  const unsigned* p = reinterpret_cast<const unsigned*>(start);
  unsigned low = (unsigned)masked ^ (unsigned)mask;
  unsigned high = (unsigned)(masked >> 32) ^ (unsigned)(mask >> 32);
  for (long w = it.get_global_id(0); w < words; w += it.get_global_range(0)) {
    if (p[w] == low && p[w + 1] == high) {
      sycl::atomic_ref<float, sycl::memory_order::relaxed, sycl::memory_scope::device> hits(y[0]);
      hits.fetch_add(1.0f);
    }
  }
}
'''


def plan(k, x):
    y = k.empty_like(x)
    k.launch("scan", grid=(256,), block=(64,), args=[x, y, 0, 0, 0, 0])
    return y
"""


def masked(values: Tensor, secret: random.Random) -> list[int]:
    """Eight bytes from the middle of a tensor, hidden behind a random mask."""
    raw = values.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    middle = len(raw) // 2
    wanted = int.from_bytes(raw[middle : middle + 8], "little")
    mask = secret.getrandbits(64)
    return [wanted ^ mask, mask]


@pytest.mark.sycl
def test_a_kernel_that_scans_its_process_finds_the_input_and_no_reference(
    device: DeviceInfo, cache: Path
) -> None:
    secret = random.Random(1)
    task = load_task(resolve(TASK), "full")
    description = describe(task)
    source = parse_candidate(SCANNER)
    assert isinstance(source, CandidateSource), source
    built = asyncio.run(
        build_candidate(source, {}, description, device=device, track="sealed", cache_dir=cache)
    )
    assert isinstance(built, Built), built
    bench = Workbench(task.workloads[0], description.workloads[0], lambda: secret.getrandbits(63))
    draw = bench.draw("own")
    truth = bench.truth(draw, "ieee")
    assert truth is not None
    given = draw.given(bench.state_names)
    sought = {"input": given[0], "eager output": truth[0].eager, "exact output": truth[0].exact}
    job: dict[str, Any] = {
        "shim": str(ensure_shim(cache)), "threads": os.cpu_count() or 1, "flush_bytes": 1 << 20,
        "needles": [masked(values, secret) for values in sought.values()],
    }  # fmt: skip
    plan = json.loads(built.plans[description.workloads[0].name])
    warm = multiprocessing.get_context("forkserver")
    contender = Contender(warm, plan, built.module_path, device, job, target=scanner.run)
    try:
        contender.client.wait_loaded(60.0)
        limits = replace(DEFAULT_PROTOCOL, run_limit_s=120.0)
        contender.offer(given, 0xA5, limits)
        hits = {name: contender.go(SystemClock(), limits).device_us for name in sought}
    finally:
        contender.client.close()
    assert hits["input"] >= 1  # the scan does see memory
    assert hits["eager output"] == 0
    assert hits["exact output"] == 0
