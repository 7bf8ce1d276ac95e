"""What compiled CUDA code may not contain: clocks, device memory, output, state that outlives a launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.eval.cuda_code import kernel, machine

pytestmark = pytest.mark.cuda

FORBIDDEN = {
    "clock": (kernel("long long* y", "y[0] = clock64();"), "a clock"),
    "short clock": (kernel("int* y", "y[0] = clock();"), "a clock"),
    "globaltimer": (
        kernel("long long* y", 'asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(y[0]));'),
        "a clock",
    ),
    "clock through ptx": (
        kernel("unsigned* y", 'unsigned v; asm volatile("mov.u32 %0, %%clock;" : "=r"(v)); y[0] = v;'),
        "a clock",
    ),
    "malloc": (kernel("int** y", "y[0] = (int*)malloc(8);"), "malloc"),
    "free": (kernel("int** y", "free(y[0]);"), "free"),
    "new": (kernel("int** y", "y[0] = new int(3);"), "malloc"),
    "printf": (kernel("int* y", 'printf("%d", y[0]);'), "vprintf"),
    "device variable": (kernel("int* y", "y[0] = kept++;", "__device__ int kept;"), "kept"),
    "static variable": (kernel("int* y", "y[0] = kept++;", "static __device__ int kept;"), "kept"),
    "static local": (kernel("int* y", "static int kept; y[0] = kept++;"), "kept"),
    "inline variable": (kernel("int* y", "y[0] = kept++;", "inline __device__ int kept;"), "kept"),
    "in a namespace": (kernel("int* y", "y[0] = a::kept++;", "namespace a { __device__ int kept; }"), "kept"),
    "in a nameless one": (kernel("int* y", "y[0] = kept++;", "namespace { __device__ int kept; }"), "kept"),
    "array": (kernel("int* y", "y[0] = kept[y[1]]++;", "__device__ int kept[4] = {1, 2, 3, 4};"), "kept"),
    "in assembler": (
        kernel(
            "int* y",
            'int v; asm volatile("{ .global .u32 kept; atom.global.add.u32 %0, [kept], 1; }" : "=r"(v));'
            "  y[0] = v;",
        ),
        "kept",
    ),
    "named as a local constant": (
        kernel(
            "int* y", "y[0] = kept++;", "__device__ int g() { constexpr int kept = 3; return kept; }\n"
            "__device__ int kept;"
        ),
        "kept",
    ),
    "named as a member constant": (
        kernel(
            "int* y",
            "y[0] = kept++;",
            "struct S { static constexpr int kept = 3; };\n__device__ int kept;",
        ),
        "kept",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_things_are_found_in_what_was_compiled(name: str, cache: Path) -> None:
    code, word = FORBIDDEN[name]
    found = machine(code, cache).forbidden
    assert found is not None
    assert word in found


ACCEPTED = {
    "constexpr": kernel("int* y", "y[0] = table[y[1] & 3];", "constexpr int table[4] = {7, 1, 9, 2};"),
    "device constexpr": kernel(
        "int* y", "y[0] = table[y[1] & 3];", "__device__ constexpr int table[4] = {7, 1, 9, 2};"
    ),
    "constant memory": kernel(
        "int* y", "y[0] = table[y[1] & 3];", "__constant__ int table[4] = {7, 1, 9, 2};"
    ),
    "local table": kernel("int* y", "const int table[4] = {7, 1, 9, 2}; y[0] = table[y[1] & 3];"),
    "string": kernel("char* y", 'const char* words = "some words"; y[0] = words[y[1] & 7];'),
    "switch": kernel(
        "int* y",
        "switch (y[1]) { case 0: y[0] = y[7]; break; case 1: y[2] = 3; break; case 2: y[3] = 5; break;"
        " case 3: y[4] = 5; break; case 4: y[5]++; break; case 5: y[6] = 9; break; default: y[9] = 1; }",
    ),
    "mathematics": kernel("float* y", "y[0] = sinf(y[0]) + powf(y[1], y[2]) + erff(y[3]) + y[4] / y[5];"),
    "double": kernel("double* y", "y[0] = exp(y[0]) / sqrt(y[1]);"),
    "double tables": kernel(
        "double* y",
        "y[0] = sin(y[0]) + tan(y[1]) + lgamma(y[2]) + j0(y[3]) + erfinv(y[4]) + cyl_bessel_i0(y[5])"
        " + tgamma(y[6]) + pow(y[7], y[8]) + normcdfinv(y[9]);",
    ),
    "float tables": kernel(
        "float* y",
        "y[0] = tanf(y[0]) + lgammaf(y[1]) + j1f(y[2]) + erfinvf(y[3]) + cyl_bessel_i1f(y[4]) + tgammaf(y[5])"
        " + sinpif(y[6]) + remainderf(y[7], y[8]) + fmodf(y[9], y[10]);",
    ),
    "libraries": kernel(
        "float* y",
        "y[0] = cuda::std::numeric_limits<float>::max() + (float)cuda::std::complex<float>(y[1], 0).real();",
        "#include <cuda/std/limits>\n#include <cuda/std/complex>\n#include <cuda/pipeline>\n"
        "#include <cooperative_groups/reduce.h>\n#include <cub/block/block_radix_sort.cuh>",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_honest_code_has_nothing_forbidden(name: str, cache: Path) -> None:
    assert machine(ACCEPTED[name], cache).forbidden is None
