"""Signatures out of device code, and arguments against them."""

import asyncio

import pytest

from kforge.eval.bind import check_arguments
from kforge.eval.parameter_types import LocalType, PointerType, ScalarParameter
from kforge.eval.plan import BoundLocal, BoundPlan, BoundScalar, BoundTensor, LaunchPlan
from kforge.eval.plan_process import plan_candidate
from kforge.eval.signature import Signatures, parse_signatures
from kforge.types import Scalar, ScreenedOut
from tests.plan.examples import DEVICE, WORKLOAD, candidate

HEAD = 'extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))\n'


def signatures(code: str, **tune: Scalar) -> Signatures:
    found = parse_signatures(code, tune)
    assert isinstance(found, Signatures), found
    return found


TYPES = {
    "const float* x": PointerType("f32", 1, True),
    "float const *__restrict__ x": PointerType("f32", 1, True),
    "float* const x": PointerType("f32", 1, False),
    "float*": PointerType("f32", 1, False),
    "sycl::half *x": PointerType("f16", 1, False),
    "const sycl::ext::oneapi::bfloat16* x": PointerType("bf16", 1, True),
    "const void* p": PointerType(None, 1, True),
    "char* p": PointerType(None, 1, False),
    "const sycl::float4* x": PointerType("f32", 4, True),
    "sycl::vec<float, 8>* x": PointerType("f32", 8, False),
    "const std::int64_t *i": PointerType("i64", 1, True),
    "int n": ScalarParameter("i32"),
    "int": ScalarParameter("i32"),
    "const unsigned int n": ScalarParameter("u32"),
    "unsigned": ScalarParameter("u32"),
    "long unsigned int n": ScalarParameter("u64"),
    "long long n": ScalarParameter("i64"),
    "std::size_t n": ScalarParameter("u64"),
    "uint8_t n": ScalarParameter("u8"),
    "signed char n": ScalarParameter("i8"),
    "double x = 1.0": ScalarParameter("f64"),
    "bool b": ScalarParameter("b8"),
    "sycl::half h": ScalarParameter("f16"),
    "[[maybe_unused]] float x": ScalarParameter("f32"),
    "sycl::local_accessor<float, 1> a": LocalType("local_accessor", "f32"),
    "sycl::local_accessor<double> a": LocalType("local_accessor", "f64"),
    "sycl::ext::oneapi::experimental::work_group_memory<float[]> a": LocalType("work_group_memory", "f32"),
    "T x": ScalarParameter("f32"),
    "const T* x": PointerType("f32", 1, True),
    "In x": PointerType("f32", 1, True),
    "Old n": ScalarParameter("u32"),
    "MACRO x": ScalarParameter("f64"),
    "TUNED x": ScalarParameter("f16"),
}


@pytest.mark.parametrize("text", TYPES)
def test_a_parameter_is_read(text: str) -> None:
    code = (
        "using T = float; using In = const T*; typedef unsigned int Old;\n#define MACRO double\n"
        + HEAD + "void f(" + text + ") { }"
    ).replace("using In = const T*", "using In = const float*")  # fmt: skip
    found = signatures(code, TUNED="half")
    assert found.skipped == {}
    assert [parameter.type for parameter in found.kernels["f"].parameters] == [TYPES[text]]


SKIPPED = {
    "struct S s": "builtin type",
    "float** x": "plain pointers",
    "float& x": "plain pointers",
    "float x[4]": "plain pointers",
    "sycl::local_accessor<float, 2> a": "one dimension",
    "work_group_memory<float[16]> a": "work_group_memory<T[]>",
    "MyType* x": "element type",
    "sycl::local_accessor<sycl::float4, 1> a": "builtin scalar",
}


@pytest.mark.parametrize("text", SKIPPED)
def test_a_type_that_cannot_be_passed_is_named(text: str) -> None:
    found = signatures(HEAD + f"void f({text}) {{ }}")
    assert found.kernels == {}
    assert SKIPPED[text] in found.skipped["f"]


def test_kernels_are_found_in_every_dress() -> None:
    code = (
        "/* " + HEAD + " void no(int) {} */\n"
        + '#define K1 extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::nd_range_kernel<1>))\n'
        + "K1 void a() { }\nK1\n[[sycl::reqd_sub_group_size(16)]] void b(void) {}\n"
        + 'extern "C" { SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((x::nd_range_kernel<DIM>)) void c(int n); }\n'
        + "#if 0\n" + HEAD + "void off(int n) {}\n#endif\n"
        + "template <typename T> SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((nd_range_kernel<1>)) void t(T* x) {}\n"
        + "SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((nd_range_kernel<1>)) void m(int x) {}\n"
        + HEAD.replace("nd_range_kernel<1>", "single_task_kernel") + "void s() {}\n"
    )  # fmt: skip
    found = signatures(code, DIM=2)
    assert set(found.kernels) == {"a", "b", "c", "off"}
    assert found.kernels["c"].dimensions == 2
    assert "template" in found.skipped["t"]
    assert 'extern "C"' in found.skipped["m"]
    assert "nd_range_kernel<1>" in found.skipped["s"]


def test_two_definitions_and_macro_bombs_are_refused() -> None:
    twice = parse_signatures(HEAD + "void f(int a) {}\n" + HEAD + "void f(float a) {}", {})
    assert isinstance(twice, ScreenedOut)
    bomb = "".join(f"#define A{i} A{i + 1} A{i + 1}\n" for i in range(30)) + "A0\n"
    assert isinstance(parse_signatures(bomb, {}), ScreenedOut)
    loop = signatures("#define A B\n#define B A\nA B\n")
    assert loop.kernels == {}


def test_truncated_code_never_raises() -> None:
    code = HEAD + "void f(const float* x, sycl::local_accessor<float, 1> a, int n = 3) { }"
    for end in range(len(code)):
        parse_signatures(code[:end], {})


# ------------------------------------------------------------------------------------------ binding

ARGUMENTS = "[x, out, 5, 0.5, True, k.local('f32', 16)]"
PARAMETERS = "const float* x, float* y, int n, float s, bool b, sycl::local_accessor<float, 1> a"


def bound(
    arguments: str = ARGUMENTS, parameters: str = PARAMETERS, before: str = "", kernel: str = "f"
) -> object:
    lines = [
        "def plan(k, x):",
        "    out = k.empty((4, 8, 14, 14))",
        *(f"    {line}" for line in before.split("\n")),
    ]
    lines += [f"    k.launch('{kernel}', (32,), (64,), {arguments})", "    return out", ""]
    code = HEAD + f"void f({parameters}) {{ }}\n"
    source = candidate("\n".join(lines), code, "")
    plan = asyncio.run(plan_candidate(source, {}, WORKLOAD, DEVICE, "sealed"))
    assert isinstance(plan, LaunchPlan), plan
    return check_arguments(plan, signatures(code))


def test_every_argument_gets_its_exact_type() -> None:
    plan = bound()
    assert isinstance(plan, BoundPlan), plan
    x, y, *rest = plan.launches[0]
    assert isinstance(x, BoundTensor)
    assert isinstance(y, BoundTensor)
    assert (x.writable, y.writable) == (False, True)
    assert rest == [
        BoundScalar("i32", 5), BoundScalar("f32", 0.5), BoundScalar("b8", True),
        BoundLocal("local_accessor", "float32", 16, 64),
    ]  # fmt: skip


def test_stated_types_and_untyped_pointers_bind() -> None:
    assert isinstance(
        bound("[x, out, k.u8(255), k.f64(2)]", "const void* x, float* y, uint8_t n, double d"), BoundPlan
    )
    assert isinstance(bound("[x, out]", "const sycl::float4* x, sycl::vec<float, 4>* y"), BoundPlan)


WRONG = {
    "int to float": (
        "[x, out, 5, 1, True, k.local('f32', 16)]",
        "arguments",
        "argument 3",
        "write 2.0 for 2",
    ),
    "float to int": ("[x, out, 5.0, 0.5, True, k.local('f32', 16)]", "arguments", "argument 2", "use //"),
    "int to bool": ("[x, out, 5, 0.5, 1, k.local('f32', 16)]", "arguments", "argument 4", "True or False"),
    "bool to int": (
        "[x, out, True, 0.5, True, k.local('f32', 16)]",
        "arguments",
        "argument 2",
        "pass an int",
    ),
    "i64 to int": ("[x, out, k.i64(5), 0.5, True, k.local('f32', 16)]", "arguments", "k.i64(5)", "k.i32(x)"),
    "u32 to int": ("[x, out, k.u32(5), 0.5, True, k.local('f32', 16)]", "arguments", "k.u32(5)", ""),
    "f64 to float": (
        "[x, out, 5, k.f64(5), True, k.local('f32', 16)]",
        "arguments",
        "k.f64(5.0)",
        "k.f32(x)",
    ),
    "overflow": ("[x, out, 2**31, 0.5, True, k.local('f32', 16)]", "overflow", "argument 2", "-2147483648"),
    "float overflow": ("[x, out, 5, 1e39, True, k.local('f32', 16)]", "overflow", "argument 3", "f32"),
    "too few": ("[x, out]", "arguments", "2 arguments for 6", "const float * x"),
    "tensor to int": ("[x, out, x, 0.5, True, k.local('f32', 16)]", "arguments", "argument 2", "a tensor"),
    "int to pointer": (
        "[7, out, 5, 0.5, True, k.local('f32', 16)]",
        "arguments",
        "argument 0",
        "pass a tensor",
    ),
    "local dtype": ("[x, out, 5, 0.5, True, k.local('f64', 16)]", "arguments", "argument 5", "element type"),
    "no local": ("[x, out, 5, 0.5, True, 16]", "arguments", "argument 5", "k.local"),
    "tensor dtype": (
        "[k.view(x, 0, 'i32', 4), out, 5, 0.5, True, k.local('f32', 16)]",
        "arguments",
        "int32",
        "",
    ),
    "write input": ("[x, x, 5, 0.5, True, k.local('f32', 16), ]", "read_only", "input x", "const"),
    "read unwritten": ("[k.empty(4), out, 5, 0.5, True, k.local('f32', 16)]", "unwritten", "argument 0", ""),
    "never written": ("[out, k.empty(4), 5, 0.5, True, k.local('f32', 16)]", "unwritten", "argument 0", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named(name: str) -> None:
    arguments, rule, first, second = WRONG[name]
    before = "k.launch('f', 1, 1, " + ARGUMENTS + ")" if name in ("write input",) else ""
    found = bound(arguments, before=before)
    assert isinstance(found, ScreenedOut)
    assert found.rule == rule, found
    assert "k.launch('f')" in found.reason
    assert first in found.reason, found
    assert second in found.reason, found


def test_an_output_that_only_goes_to_const_pointers_is_refused() -> None:
    found = bound("[out]", "const float* y", before="k.memset(out, 0)")
    assert isinstance(found, ScreenedOut)
    assert found.rule == "outputs"


def test_a_misaligned_vector_is_refused() -> None:
    found = bound("[k.view(x, 1, 'f32', 8), out]", "const sycl::float4* x, float* y")
    assert isinstance(found, ScreenedOut)
    assert found.rule == "alignment"


def test_a_missing_kernel_lists_those_there_are() -> None:
    found = bound(kernel="g")
    assert isinstance(found, ScreenedOut)
    assert found.rule == "kernel_name"
    assert "its kernels are: f" in found.reason


def test_dimensions_must_agree() -> None:
    source = HEAD.replace("nd_range_kernel<1>", "nd_range_kernel<2>") + f"void f({PARAMETERS}) {{ }}"
    plan = bound()
    assert isinstance(plan, BoundPlan)
    found = check_arguments(plan.plan, signatures(source))
    assert isinstance(found, ScreenedOut)
    assert found.rule == "grid"
