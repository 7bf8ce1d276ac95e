"""Real kernels of known designs land in their cells; what does not execute moves nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kforge.eval.classify import classify
from kforge.eval.compile import CachedBuild
from kforge.eval.facts import build_facts, forbidden_features
from kforge.eval.syclbin import spirv_modules
from kforge.types import BuildFacts, BuildFailed
from tests.eval import kernels
from tests.eval.conftest import Compile

pytestmark = pytest.mark.sycl


def compiled(build: Compile, code: str) -> CachedBuild:
    made = build(code)
    assert isinstance(made, CachedBuild), made
    return made


def facts_of(build: Compile, code: str) -> BuildFacts:
    modules = spirv_modules(compiled(build, code).intermediate)
    assert forbidden_features(modules) is None
    return build_facts(modules)


def cell(build: Compile, code: str, launches: int = 1) -> tuple[int, int, int]:
    return classify(facts_of(build, code), {"main_kernel": 4096}, launches).cell


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("ELEMENTWISE", (0, 1, 0)),
        ("VECTOR", (1, 1, 0)),
        ("NATIVE_VECTOR", (1, 1, 0)),
        ("LOCAL_TILE", (2, 1, 1)),
        ("REGISTER_TILE", (3, 3, 1)),
        ("GROUP_REDUCE", (0, 2, 1)),
        ("SUBGROUP_REDUCE", (0, 2, 2)),
        ("HIERARCHICAL", (0, 2, 3)),
        ("ATOMIC", (0, 2, 3)),
    ],
)
def test_a_design_lands_in_its_cell(build: Compile, design: str, expected: tuple[int, int, int]) -> None:
    assert cell(build, getattr(kernels, design)) == expected


def test_a_second_launch_makes_it_multi_pass(build: Compile) -> None:
    assert cell(build, kernels.GROUP_REDUCE, launches=2) == (0, 0, 1)


def test_the_kernel_with_most_of_the_work_decides(build: Compile) -> None:
    body = kernels.ELEMENTWISE.removeprefix(kernels.HEAD).replace("main_kernel", "other_kernel")
    facts = facts_of(build, kernels.GROUP_REDUCE + body)
    assert {k.name for k in facts.kernels} == {"main_kernel", "other_kernel"}
    assert classify(facts, {"main_kernel": 1 << 20, "other_kernel": 64}, 2).parallelism == 1
    assert classify(facts, {"main_kernel": 64, "other_kernel": 1 << 30}, 2).parallelism == 0


STORE = "y[i] = x[i] * 2.0f + 1.0f;"
DECORATIONS = {
    "comments": (STORE, "// uses shared memory, barriers, async copies and vectors\n" + STORE),
    "dead code": (STORE, "if (false) { sycl::group_barrier(it.get_group()); }\n" + STORE),
    "unused function": ("KERNEL main", "inline void f(sycl::nd_item<1> i) { i.barrier(); }\nKERNEL main"),
    "unused local memory": ("float* y)", "float* y, sycl::local_accessor<float, 1> tile)"),
    "renamed": (
        STORE,
        "const float tensor_core_async_tile = x[i] * 2.0f;\n y[i] = tensor_core_async_tile + 1.0f;",
    ),
}


@pytest.mark.parametrize("name", DECORATIONS)
def test_what_does_not_execute_moves_nothing(build: Compile, name: str) -> None:
    old, new = DECORATIONS[name]
    assert old in kernels.ELEMENTWISE
    assert cell(build, kernels.ELEMENTWISE.replace(old, new)) == cell(build, kernels.ELEMENTWISE)


FORBIDDEN = {
    "inline assembler": kernels.kernel("const float* x, float* y", 'asm volatile("nop"); y[i] = x[i];'),
    "function pointer": kernels.kernel(
        "const float* x, float* y, long f", "y[i] = reinterpret_cast<float (*)(float)>(f)(x[i]);"
    ),
    "undefined function": kernels.HEAD
    + 'extern "C" SYCL_EXTERNAL float system(float);\n'
    + kernels.kernel("const float* x, float* y", "y[i] = system(x[i]);").removeprefix(kernels.HEAD),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_ways_out_of_device_code_are_refused(build: Compile, name: str) -> None:
    """By the compiler or by what is read from the compiled module; never let through."""
    made = build(FORBIDDEN[name])
    if isinstance(made, CachedBuild):
        assert forbidden_features(spirv_modules(made.intermediate)) is not None
    else:
        assert isinstance(made, BuildFailed)


@pytest.fixture(scope="module")
def intermediate(build: Compile) -> bytes:
    return compiled(build, kernels.HIERARCHICAL).intermediate


def read(data: bytes) -> None:
    """All that the build stage reads; ValueError is the only way to refuse."""
    try:
        modules = spirv_modules(data)
        forbidden_features(modules)
        build_facts(modules)
    except ValueError:
        return


QUIET = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(cut=st.integers(0, 1 << 20))
def test_a_truncated_file_is_a_value_error_or_still_whole(intermediate: bytes, cut: int) -> None:
    read(intermediate[: cut % len(intermediate)])


@QUIET
@given(places=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=20))
def test_mutated_files_raise_value_errors_only(intermediate: bytes, places: list[tuple[int, int]]) -> None:
    data = bytearray(intermediate)
    for at, value in places:
        data[at % len(data)] = value
    read(bytes(data))


@QUIET
@given(
    places=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 2**32 - 1)), min_size=1, max_size=20)
)
def test_mutated_words_of_spirv_raise_value_errors_only(
    intermediate: bytes, places: list[tuple[int, int]]
) -> None:
    module = bytearray(spirv_modules(intermediate)[0])
    for at, value in places:
        word = 5 + at % (len(module) // 4 - 5)
        module[4 * word : 4 * word + 4] = (value % 4096 if value % 3 else value).to_bytes(4, "little")
    try:
        forbidden_features((bytes(module),))
        build_facts((bytes(module),))
    except ValueError:
        return


def test_the_shortest_broken_inputs_are_value_errors(intermediate: bytes) -> None:
    module = spirv_modules(intermediate)[0]
    variable_without_operands = module[:20] + ((1 << 16) | 59).to_bytes(4, "little") + module[20:]
    with pytest.raises(ValueError, match="too few operands"):
        build_facts((variable_without_operands,))
    far = intermediate[:16] + (2**63).to_bytes(8, "little") + intermediate[24:]
    with pytest.raises(ValueError, match="truncated"):
        spirv_modules(far)
