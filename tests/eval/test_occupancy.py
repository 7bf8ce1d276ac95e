"""Occupancy against NVIDIA's own arithmetic: ``cuda_occupancy.h`` of the runtime, compiled here."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from kforge.eval.architectures import ARCHITECTURES, architecture
from kforge.eval.cuda_toolkit import toolkit
from kforge.eval.occupancy import occupancy

pytestmark = pytest.mark.cuda
PROGRAM = r"""
#include <cstdio>
#include <cstddef>
#include "cuda_occupancy.h"
int main() {
  int major, minor, threads_per_sm, registers_per_sm, shared_per_sm, reserved, threads, registers, shared;
  while (scanf("%d %d %d %d %d %d %d %d %d", &major, &minor, &threads_per_sm, &registers_per_sm,
               &shared_per_sm, &reserved, &threads, &registers, &shared) == 9) {
    cudaOccDeviceProp p;
    p.computeMajor = major; p.computeMinor = minor; p.maxThreadsPerBlock = 1024;
    p.maxThreadsPerMultiprocessor = threads_per_sm; p.regsPerBlock = registers_per_sm;
    p.regsPerMultiprocessor = registers_per_sm; p.warpSize = 32; p.sharedMemPerBlock = 48 << 10;
    p.sharedMemPerMultiprocessor = shared_per_sm; p.numSms = 100;
    p.sharedMemPerBlockOptin = shared_per_sm - reserved; p.reservedSharedMemPerBlock = reserved;
    cudaOccFuncAttributes a;
    a.maxThreadsPerBlock = 1024; a.numRegs = registers; a.sharedSizeBytes = 0;
    a.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN; a.maxDynamicSharedSizeBytes = shared_per_sm;
    a.numBlockBarriers = 1;
    cudaOccDeviceState s; s.carveoutConfig = 100;
    cudaOccResult r;
    cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &a, &s, threads, shared);
    printf("%d %u\n", r.activeBlocksPerMultiprocessor, r.limitingFactors);
  }
}
"""
FACTORS = {"warps": 1, "registers": 2, "shared_memory": 4, "blocks": 8}
THREADS = (32, 96, 128, 250, 256, 512, 1000, 1024)
REGISTERS = (0, 16, 24, 32, 33, 40, 64, 72, 96, 128, 168, 255)
SHARED = (0, 1, 1000, 8192, 16384, 40000, 49152, 65536, 98304, 101376, 166912, 232448)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    header = next((p for p in toolkit().include if (Path(p) / "cuda_occupancy.h").is_file()), None)
    compiler = shutil.which("g++") or shutil.which("clang++")
    if header is None or compiler is None:
        pytest.skip("no cuda_occupancy.h or no C++ compiler")
    folder = tmp_path_factory.mktemp("occupancy")
    (folder / "main.cpp").write_text(PROGRAM)
    command = [compiler, "-w", "-O0", f"-I{header}", str(folder / "main.cpp"), "-o", str(folder / "main")]
    subprocess.run(command, check=True)
    return folder / "main"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_occupancy_is_nvidias(program: Path, name: str) -> None:
    of = ARCHITECTURES[name]
    cases = list(itertools.product(THREADS, REGISTERS, SHARED))
    lines = [
        f"{name[:-1]} {name[-1]} {of.max_threads_per_sm} {of.registers_per_sm} {of.shared_per_sm} "
        f"{of.reserved_per_block} {threads} {registers} {shared}"
        for threads, registers, shared in cases
    ]
    told = subprocess.run([program], input="\n".join(lines), text=True, capture_output=True, check=True)
    differ = []
    for (threads, registers, shared), line in zip(cases, told.stdout.splitlines(), strict=True):
        blocks, factors = map(int, line.split())
        found = occupancy(of, threads=threads, registers=registers, shared_bytes=shared)
        ours = found.blocks_per_sm if found else 0
        named = {factor for limit, factor in FACTORS.items() if found and limit in found.limits}
        theirs = {factor for factor in FACTORS.values() if factors & factor}
        if ours != blocks or (found and not named <= theirs):
            differ.append((threads, registers, shared, ours, blocks, named, theirs))
    assert not differ, differ[:5]


@pytest.mark.parametrize(
    ("arch", "given", "blocks", "limits"),
    [
        ("sm_90a", (256, 32, 0), 8, ("registers", "warps")),
        ("sm_90a", (32, 16, 0), 32, ("blocks",)),
        ("sm_90a", (256, 128, 0), 2, ("registers",)),
        ("sm_90a", (128, 40, 100_000), 2, ("shared_memory",)),
        ("sm_89", (1024, 32, 0), 1, ("warps",)),
        ("sm_75", (256, 64, 0), 4, ("registers", "warps")),
    ],
)
def test_limits_have_names(
    arch: str, given: tuple[int, int, int], blocks: int, limits: tuple[str, ...]
) -> None:
    threads, registers, shared = given
    of = architecture(arch)
    assert of is not None
    found = occupancy(of, threads=threads, registers=registers, shared_bytes=shared)
    assert found is not None
    assert (found.blocks_per_sm, found.limits) == (blocks, limits)
    assert found.share == blocks * -(-threads // 32) / of.max_warps_per_sm


def test_what_does_not_fit_or_is_not_known_has_no_occupancy() -> None:
    of = architecture("sm_90a")
    assert of is not None
    assert occupancy(of, threads=1024, registers=128, shared_bytes=0) is None
    assert occupancy(of, threads=32, registers=16, shared_bytes=240_000) is None
    assert architecture("sm_999") is None
    assert architecture("opencl") is None
