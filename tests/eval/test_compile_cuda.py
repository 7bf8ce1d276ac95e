"""CUDA builds for an H100 on any machine: machine code read back, and what it may not contain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kforge.eval.compile_sycl import LOG_TAIL_CHARS
from kforge.eval.cubin import CompiledParameter
from kforge.types import BuildFailed, TimedOut
from tests.eval.cuda_code import built, kernel, machine

pytestmark = pytest.mark.cuda

WMMA = kernel(
    "const half* a, const half* b, float* c",
    "wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> x;\n"
    "  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> y;\n"
    "  wmma::fragment<wmma::accumulator, 16, 16, 16, float> z; wmma::fill_fragment(z, 0.0f);\n"
    "  for (int i = 0; i < 64; i += 16) {\n"
    "    wmma::load_matrix_sync(x, a + i, 64); wmma::load_matrix_sync(y, b + 16 * i, 16);\n"
    "    wmma::mma_sync(z, x, y, z);\n  }\n"
    "  wmma::store_matrix_sync(c, z, 16, wmma::mem_row_major);",
    "#include <mma.h>\nusing namespace nvcuda;",
)
BF16 = kernel(
    "const __nv_bfloat162* x, __nv_bfloat162* y",
    "y[threadIdx.x] = __hfma2(x[threadIdx.x], x[threadIdx.x], x[0]);",
    "#include <cuda_bf16.h>",
)
CLUSTER = kernel(
    "float* y",
    "__shared__ float mine; if (threadIdx.x == 0) mine = y[blockIdx.x];\n"
    "  auto cluster = cg::this_cluster(); cluster.sync();\n"
    "  y[blockIdx.x] = *cluster.map_shared_rank(&mine, 0); cluster.sync();",
    "#include <cooperative_groups.h>\nnamespace cg = cooperative_groups;",
)
GRID = kernel(
    "float* y",
    "cooperative_groups::this_grid().sync(); y[threadIdx.x] = 1.0f;",
    "#include <cooperative_groups.h>",
)
CUB = kernel(
    "const float* x, float* y",
    "using Reduce = cub::BlockReduce<float, 128>; __shared__ typename Reduce::TempStorage storage;\n"
    "  float sum = Reduce(storage).Sum(x[threadIdx.x]); if (threadIdx.x == 0) *y = sum;",
    "#include <cub/block/block_reduce.cuh>",
)
TMA = kernel(
    "const __grid_constant__ CUtensorMap map, float* y",
    "__shared__ alignas(128) float tile[32]; __shared__ alignas(8) unsigned long long ready;\n"
    "  unsigned to = (unsigned)__cvta_generic_to_shared(tile);\n"
    "  unsigned bar = (unsigned)__cvta_generic_to_shared(&ready);\n"
    "  if (threadIdx.x == 0) asm volatile(\n"
    '    "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "\n'
    '    "[%0], [%1, {%2}], [%3];"\n'
    '    ::"r"(to), "l"(&map), "r"(0), "r"(bar) : "memory");\n'
    "  __syncthreads(); y[threadIdx.x] = tile[threadIdx.x];",
    "#include <cuda.h>",
)
ATOMIC = kernel("float* y", "atomicAdd(y, 1.0f);")
WIDE = kernel("const float4* x, float4* y", "y[threadIdx.x] = x[threadIdx.x];")
# code: opcodes of which each must occur, and a fact that must be above 0
SHOWS = {
    "wmma": (WMMA, {"HMMA"}, "matrix_ops"),
    "bf16": (BF16, {"HFMA2"}, "float_ops"),
    "cluster": (CLUSTER, {"UCGABAR_ARV"}, "workgroup_ops"),
    "cooperative": (GRID, {"BAR"}, "barriers"),
    "cub": (CUB, {"SHFL", "BAR"}, "subgroup_ops"),
    "tensor map": (TMA, {"UTMALDG"}, "async_copies"),
    "atomic": (ATOMIC, set(), "atomics"),
    "wide": (WIDE, {"LDG", "STG"}, "wide_load_bytes"),
}


@pytest.mark.parametrize("name", SHOWS)
def test_what_was_written_is_what_the_machine_does(name: str, cache: Path) -> None:
    code, opcodes, fact = SHOWS[name]
    made = machine(code, cache)
    assert made.opcodes() >= opcodes, made.opcodes()
    assert made.forbidden is None
    (facts,) = made.facts.kernels
    assert getattr(facts, fact) > 0, facts
    assert facts.resources is not None
    assert facts.resources.registers > 0
    assert made.facts.evidence == "sass-static"


def test_parameters_are_laid_out_as_in_c(cache: Path) -> None:
    code = kernel(
        "const float* x, int n, float* y, bool b, const S s, double d, short h",
        "if (b) y[n] = x[n] + s.scale + (float)d + h;",
        "struct S { int a; float* p; float scale; };",
    )
    found = machine(code, cache).cubin.kernels["f"].parameters
    sizes = [(0, 8), (8, 4), (16, 8), (24, 1), (32, 24), (56, 8), (64, 2)]
    assert found == [CompiledParameter(offset, size) for offset, size in sizes]


def test_resources_are_those_of_the_source(cache: Path) -> None:
    code = (
        'extern "C" __global__ void __launch_bounds__(96) f(float* y) {\n'
        "  __shared__ float held[300]; held[threadIdx.x] = y[threadIdx.x]; __syncthreads();\n"
        "  y[threadIdx.x] = held[95 - threadIdx.x];\n}\n"
    )
    found = machine(code, cache).cubin.kernels["f"]
    assert (found.static_shared_bytes, found.max_threads) == (1200, 96)
    assert 0 < found.registers < 64
    assert found.frame_bytes == 0


def test_loops_and_local_arrays_are_seen(cache: Path) -> None:
    code = kernel(
        "const float* x, float* y, int n, int k",
        "float held[64];\n  for (int i = 0; i < 64; ++i) held[i] = x[i * n];\n"
        "  float sum = 0.0f;\n#pragma unroll 1\n  for (int i = 0; i < n; ++i)\n"
        "#pragma unroll 1\n    for (int j = 0; j < k; ++j) sum += held[(i * j) & 63] * x[j];\n  *y = sum;",
    )
    made = machine(code, cache)
    (facts,) = made.facts.kernels
    assert facts.loop_depth >= 2
    assert facts.resources is not None
    assert facts.resources.frame_bytes >= 256


def test_tune_values_are_macros_that_do_not_reach_the_headers(cache: Path) -> None:
    code = kernel(
        "float* y",
        "using R = cub::BlockReduce<T, N>; __shared__ typename R::TempStorage s;\n"
        "  *y = R(s).Sum(*y); static_assert(N == 64);",
        "#include <cub/block/block_reduce.cuh>",
    )
    assert machine(code, cache, {"N": 64, "T": "float"}).forbidden is None
    assert isinstance(built(code, cache, {"N": 32, "T": "float"}), BuildFailed)


def test_errors_name_lines_of_the_candidate_and_nothing_of_the_machine(cache: Path) -> None:
    code = kernel("float* y", "y[0] = undeclared;", "#include <cuda_fp16.h>\n\n")
    line = next(n for n, text in enumerate(code.splitlines(), 1) if "undeclared" in text)
    for tune in ({}, {"N": 3}):
        made = built(code, cache, tune)
        assert isinstance(made, BuildFailed)
        assert f"candidate.cu({line})" in made.reason
        assert "undeclared" in made.reason
        assert os.environ.get("HOME", "/root") not in made.log


def test_errors_within_headers_hide_where_they_lie(cache: Path) -> None:
    code = kernel("float* y", "cub::BlockReduce<float, -1> r;", "#include <cub/block/block_reduce.cuh>")
    made = built(code, cache)
    assert isinstance(made, BuildFailed)
    assert "site-packages" not in made.log
    assert len(made.log) <= LOG_TAIL_CHARS


BOMBS = {
    "template recursion": "template <int N> struct T { static constexpr int v = T<N + 1>::v + 1; };\n"
    "constexpr int deep = T<0>::v;\n",
    "constexpr loop": "constexpr int spin() { int n = 0; while (true) ++n; return n; }\n"
    "constexpr int s = spin();\n",
    "a file": "#include </etc/passwd>\n",
    "errors without end": "".join(f"int e{i} = undeclared_{i};\n" for i in range(5000)),
    "ptx error": '__device__ void g() { asm volatile("no.such.instruction;"); }\n',
    "host code": "int main() { return 0; }\nstatic int counter;\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_bounded(name: str, cache: Path) -> None:
    made = built(BOMBS[name] + kernel("float* y", "y[0] = 1;"), cache)
    if name == "ptx error":  # never called, so never assembled
        return
    assert isinstance(made, BuildFailed | TimedOut), made
    if isinstance(made, BuildFailed):
        assert len(made.log) <= LOG_TAIL_CHARS
        assert "root:x:" not in made.log
