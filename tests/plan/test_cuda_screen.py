"""What CUDA sources may contain: headers, assembler, and names that could pass as a library's own."""

from __future__ import annotations

import pytest

from kforge.eval.screen import screen_source
from kforge.types import CandidateSource, Scalar, ScreenedOut


def screened(code: str, **tune: tuple[Scalar, ...]) -> ScreenedOut | None:
    source = CandidateSource(
        text=code, hash="", language="cuda", precision="ieee", device_code=code, tune=tune
    )
    return screen_source(source)


ACCEPTED = {
    "headers": "#include <cuda_fp16.h>\n#include <mma.h>\n#include <cub/block/block_reduce.cuh>\n"
    "#include <cooperative_groups/reduce.h>\n#include <cuda/std/limits>\n#include <cuda.h>\nint a;",
    "assembler": 'asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");',
    "aliases": "namespace cg = cooperative_groups;\nusing namespace nvcuda;\n"
    "using namespace cooperative_groups;",
    "own namespaces": "namespace mine { namespace { int a; } }\nnamespace mine::inner { }",
    "uses": "cuda::std::numeric_limits<float>::max(); cub::BlockReduce<float, 32> r; int nv = 1; nv = 2;",
    "constant": "__constant__ float table[4]; __device__ float g() { return table[0]; }",
    "macros": "#define MAX cuda::std::numeric_limits<int>::max()\n#define cg_size 4\nint a;",
    "comment": "// namespace cuda {\n/* _ZN4cuda1xE */ int a;",
    "inner underscore": "int a_Z, my_param;",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_honest_code_passes(name: str) -> None:
    assert screened(ACCEPTED[name]) is None


REFUSED = {
    "quoted include": ('#include "secret.h"', "include", "only <...>"),
    "file": ("#include </etc/passwd>", "include", "not on the list"),
    "parent": ("#include <cub/../../etc/passwd>", "include", "not on the list"),
    "host header": ("#include <fstream>", "include", "not on the list"),
    "sycl header": ("#include <sycl/sycl.hpp>", "include", "not on the list"),
    "probe": ("#if __has_include(</etc/shadow>)\n#endif", "include", "__has_include"),
    "ptx include": ('asm(".include \\"/etc/passwd\\"");', "asm", ".include"),
    "ptx file": ('asm volatile(\n  ".file 1 \\"x\\"");', "asm", "line 2"),
    "ptx extern": ('asm(".extern .func malloc;");', "asm", ".extern"),
    "raw string": ('asm(R"(.include "x")");', "include", "raw string"),
    "namespace cuda": ("int a;\nnamespace cuda { __device__ int kept; }", "device_code", "line 2"),
    "namespace of two lines": ("namespace\ncub\n{ __device__ int kept; }", "device_code", "cub"),
    "nested": ("namespace cuda::std { __device__ int kept; }", "device_code", "cuda"),
    "inline": ("inline namespace thrust { __device__ int kept; }", "device_code", "thrust"),
    "within": ("namespace mine { namespace cooperative_groups { } }", "device_code", "cooperative_groups"),
    "nv": ("namespace nv { __device__ int kept; }", "device_code", "nv"),
    "attribute": ("namespace [[deprecated]] cuda { }", "device_code", "attributes"),
    "struct": ("struct cuda { static __device__ int kept; };", "device_code", "struct cuda"),
    "derived": ("struct A {};\nstruct cub : A { };", "device_code", "line 2"),
    "macro keyword": ("#define N namespace\nN cuda { __device__ int kept; }", "device_code", "line 1"),
    "macro name": ("#define C cuda\nnamespace C { __device__ int kept; }", "device_code", "line 1"),
    "macro with arguments": ("#define I(x) x\nnamespace I(cuda) { }", "device_code", "macros"),
    "splice": ("namespace cu\\\nda { }", "device_code", "cuda"),
    "mangled": ('extern "C" { __device__ int _ZN4cuda1xE; }', "device_code", "compiler's"),
    "label": ('__device__ int kept asm("_ZN4cuda1xE");', "device_code", "compiler's"),
    "macro mangled": ("#define X _ZN4cuda1xE\nint a;", "device_code", "compiler's"),
    "constant prefix": ('extern "C" { __device__ int __constant_x; }', "device_code", "compiler's"),
    "unnamed prefix": ('extern "C" { __device__ int __unnamed_7; }', "device_code", "compiler's"),
    "parameter prefix": ('extern "C" { __device__ int _param_7; }', "device_code", "compiler's"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tricks_are_refused_with_rule_and_line(name: str) -> None:
    code, rule, reason = REFUSED[name]
    found = screened(code + "\nint last;")
    assert isinstance(found, ScreenedOut)
    assert found.rule == rule, found
    assert reason in found.reason, found


@pytest.mark.parametrize("value", ["cuda", "cub", "namespace", "_ZN4cuda1xE", "__unnamed_1"])
def test_a_tune_value_cannot_become_such_a_name(value: str) -> None:
    found = screened("namespace N { __device__ int kept; }", N=("mine", value))
    assert isinstance(found, ScreenedOut)
    assert found.rule == "device_code"


@pytest.mark.parametrize("value", ["float", "cuda::std::int32_t", "__half"])
def test_types_are_fine_as_tune_values(value: str) -> None:
    assert screened("T x;", T=(value,)) is None


HIDDEN_STATE = {
    "a closed kernel": 'asm volatile("ret;\\n}\\n .global .align 4 .b32 _ZTVx;\\n .func d(){ ret;");',
    "a name inside": 'asm volatile("mov.u64 %0, _ZTVx;" : "=l"(p));',
    "pieces": 'asm volatile("ret; }" "\\n.glob" "al .b32 x; {");',
    "a declaration": 'asm volatile(".global .b32 x; ld.global.u32 %0, [x];" : "=r"(v));',
}


@pytest.mark.parametrize("name", HIDDEN_STATE)
def test_assembler_that_declares_beside_its_kernel_is_refused(name: str) -> None:
    code = f'extern "C" __global__ void f(int* y) {{ long long p; int v; {HIDDEN_STATE[name]} }}'
    refused = screened(code)
    assert refused is not None
    assert refused.rule in ("asm", "device_code")


def test_blocks_and_memory_instructions_of_assembler_are_accepted() -> None:
    code = (
        'extern "C" __global__ void f(int* y) { int v; asm volatile("{\\n .reg .pred p;\\n" '
        '"setp.eq.u32 p, 1, 1;\\n @p ld.global.nc.u32 %0, [%1];\\n}\\n" : "=r"(v) : "l"(y)); y[0] = v; }'
    )
    assert screened(code) is None
