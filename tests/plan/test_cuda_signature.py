"""Kernel signatures out of CUDA sources."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.eval.parameter_types import (
    ArrayType,
    ParameterType,
    PointerType,
    ScalarParameter,
    StructType,
    TensorMapType,
)
from kforge.eval.signature import Signatures
from kforge.eval.signature_cuda import parse_cuda_signatures
from kforge.types import Scalar, ScreenedOut

BEFORE = (
    "struct Job { int n; float* y; };\ntypedef struct { int a; } Old;\n"
    "struct __align__(16) Wide { float v[4]; };\nusing T = float;\n"
    "using In = const float*; typedef unsigned int Word;\n#define MACRO double\n"
)


def signatures(code: str, **tune: Scalar) -> Signatures:
    found = parse_cuda_signatures(code, tune)
    assert isinstance(found, Signatures), found
    return found


TYPES: dict[str, ParameterType] = {
    "const float* __restrict__ x": PointerType("f32", 1, True),
    "float const *x": PointerType("f32", 1, True),
    "float* const x": PointerType("f32", 1, False),
    "const float4* x": PointerType("f32", 4, True),
    "uchar4* x": PointerType("u8", 4, False),
    "const __half* x": PointerType("f16", 1, True),
    "half2* x": PointerType("f16", 2, False),
    "const __nv_bfloat16* x": PointerType("bf16", 1, True),
    "__nv_bfloat162* x": PointerType("bf16", 2, False),
    "unsigned long long* x": PointerType("u64", 1, False),
    "const void* x": PointerType(None, 1, True),
    "const Job* jobs": PointerType(None, 1, True),
    "int n": ScalarParameter("i32"),
    "const long long n": ScalarParameter("i64"),
    "size_t n": ScalarParameter("u64"),
    "float x = 1.0f": ScalarParameter("f32"),
    "__half h": ScalarParameter("f16"),
    "__nv_bfloat16 h": ScalarParameter("bf16"),
    "bool b": ScalarParameter("b8"),
    "unsigned char c": ScalarParameter("u8"),
    "const Job job": StructType("Job"),
    "const __grid_constant__ Job job": StructType("Job"),
    "Old old": StructType("Old"),
    "struct Wide wide": StructType("Wide"),
    "const __grid_constant__ CUtensorMap map": TensorMapType(),
    "const CUtensorMap* maps": ArrayType("tensor_map", None),
    "float* const* y": ArrayType("pointer", PointerType("f32", 1, False)),
    "const __half* const* x": ArrayType("pointer", PointerType("f16", 1, True)),
    "T x": ScalarParameter("f32"),
    "In x": PointerType("f32", 1, True),
    "Word n": ScalarParameter("u32"),
    "MACRO d": ScalarParameter("f64"),
    "TUNED* d": PointerType("f16", 1, False),
}


@pytest.mark.parametrize("text", TYPES)
def test_a_parameter_is_read(text: str) -> None:
    found = signatures(BEFORE + f'extern "C" __global__ void f({text}) {{ }}', TUNED="half")
    assert found.skipped == {}
    assert [parameter.type for parameter in found.kernels["f"].parameters] == [TYPES[text]]


SKIPPED = {
    "float& x": "plain pointers",
    "float x[4]": "plain pointers",
    "float** x": "T* const*",
    "float* const* const* x": "two levels",
    "Unknown u": "builtin type",
    "Unknown* u": "element type",
    "cuda::std::array<float, 4> a": "builtin type",
}


@pytest.mark.parametrize("text", SKIPPED)
def test_a_type_that_cannot_be_passed_is_named(text: str) -> None:
    found = signatures(BEFORE + f'extern "C" __global__ void f({text}) {{ }}')
    assert found.kernels == {}
    assert SKIPPED[text] in found.skipped["f"], found.skipped


def test_kernels_are_found_in_every_dress() -> None:
    code = (
        '/* extern "C" __global__ void no(int) {} */\n'
        'extern "C" __global__ void __launch_bounds__(BLOCK, 2) a(int n) { }\n'
        'extern "C" __launch_bounds__(128) __global__ void b() { }\n'
        'extern "C" { __global__ void c(float* y) { } __global__ __cluster_dims__(2, 1, 1) void d() { } }\n'
        'extern "C" __global__ void later(int n);\nextern "C" __global__ void later(int n) { }\n'
        "template <int N> __global__ void t(float* y) { }\n"
        "__global__ void m(float* y) { }\n"
    )
    found = signatures(code, BLOCK=256)
    assert set(found.kernels) == {"a", "b", "c", "d", "later"}
    assert "template" in found.skipped["t"]
    assert 'extern "C"' in found.skipped["m"]


def test_two_declarations_must_agree() -> None:
    twice = parse_cuda_signatures(
        'extern "C" __global__ void f(int a) {}\nextern "C" __global__ void f(float a) {}', {}
    )
    assert isinstance(twice, ScreenedOut)
    assert twice.rule == "signature"


def test_constants_are_file_scope_names_that_no_variable_bears() -> None:
    code = (
        "constexpr int rows = 4, columns[2] = {1, 2};\n__device__ constexpr float scale{0.5f};\n"
        "__device__ int g() { constexpr int local = 3; return local; }\n"
        "struct S { static constexpr int member = 3; };\nconstexpr int twice = 1;\n"
        "namespace a { __device__ int twice; __device__ __align__(16) int other[4]; }\n"
        "constexpr float half_of(float x) { return x / 2; }\n"
    )
    assert signatures(code).constants == {"rows", "columns", "scale"}


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from(
    ['extern "C"', "__global__", "void", "f", "(", ")", "{", "}", "float", "*", "const", "&", ",", ";",
     "struct",
     "constexpr", "__device__", "__launch_bounds__", "[[", "]]", "<", ">", "template", "=", "\n"]
), max_size=40))  # fmt: skip
def test_no_soup_of_tokens_raises(words: list[str]) -> None:
    parse_cuda_signatures(" ".join(words), {})
