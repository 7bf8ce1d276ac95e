"""The compiler on hostile source, and the cache in front of it. Real builds throughout."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from kforge.errors import InfraError
from kforge.eval import compile_sycl
from kforge.eval.compile import CachedBuild
from kforge.eval.sycl_runtime import ensure_shim
from kforge.types import BuildFailed, TimedOut
from tests.eval import kernels
from tests.eval.conftest import Compile

pytestmark = pytest.mark.sycl
OTHER = kernels.ELEMENTWISE.replace("2.0f", "3.0f")


def test_errors_name_lines_of_the_candidate(build: Compile) -> None:
    code = kernels.ELEMENTWISE.replace("x[i] *", "xx[i] *")
    line = next(n for n, text in enumerate(code.splitlines(), 1) if "xx[i]" in text)
    made = build(code, {"BLOCK": 64, "WIDE": True})
    assert isinstance(made, BuildFailed)
    assert f"candidate.cpp:{line}:" in made.reason
    assert "error:" in made.reason
    assert "undeclared identifier 'xx'" in made.log


def test_tune_values_are_macros(build: Compile) -> None:
    code = kernels.kernel("const float* x, float* y", "y[i] = x[i] * FACTOR; static_assert(N == 4);")
    assert isinstance(build(code, {"FACTOR": 2.5, "N": 4}), CachedBuild)
    assert isinstance(build(code, {"FACTOR": 2.5, "N": 5}), BuildFailed)


def test_a_crash_of_the_compiler_is_a_failed_build_and_the_next_one_works(build: Compile) -> None:
    code = kernels.kernel(
        "const float* x, float* y",
        "auto tile = sx::group_local_memory<float[64]>(it.get_group());\n"
        "  (*tile)[it.get_local_id(0)] = x[i]; y[i] = (*tile)[0];",
    )
    made = build(code)
    assert isinstance(made, BuildFailed)
    assert made.reason
    assert isinstance(build(kernels.ELEMENTWISE), CachedBuild)


BOMBS = {
    "template recursion": "template <int N> struct T { static constexpr int v = T<N + 1>::v + 1; };\n"
    "constexpr int deep = T<0>::v;\n",
    "constexpr loop": "constexpr int spin() { int n = 0; while (true) ++n; return n; }\n"
    "constexpr int s = spin();\n",
    "includes a file": "#include </etc/passwd>\n",
    "errors without end": "".join(f"int e{i} = undeclared_{i};\n" for i in range(5000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_bounded(build: Compile, name: str) -> None:
    code = kernels.HEAD + BOMBS[name] + kernels.ELEMENTWISE.removeprefix(kernels.HEAD)
    made = build(code)
    assert isinstance(made, BuildFailed | TimedOut), made
    if isinstance(made, BuildFailed):
        assert len(made.log) <= compile_sycl.LOG_TAIL_CHARS
        assert len(made.reason) <= 600
        assert "root:x:" not in made.log


@pytest.mark.slow
def test_two_hundred_thousand_lines_end(build: Compile) -> None:
    lines = "".join(f"inline int f{i}(int a) {{ return a * {i}; }}\n" for i in range(200_000))
    code = kernels.HEAD + lines + kernels.ELEMENTWISE.removeprefix(kernels.HEAD)
    started = time.monotonic()
    assert isinstance(build(code), CachedBuild | BuildFailed | TimedOut)
    assert time.monotonic() - started < 3 * compile_sycl.BUILD_LIMITS.wall_s


@pytest.fixture
def fresh(tmp_path: Path, cache: Path) -> Path:
    """An empty cache that has the shim already."""
    ensure_shim(cache)
    shutil.copytree(cache / "shim", tmp_path / "cache" / "shim")
    return tmp_path / "cache"


def test_the_second_build_is_cached_and_a_torn_entry_is_built_again(build: Compile, fresh: Path) -> None:
    first = build(OTHER, {}, fresh)
    assert isinstance(first, CachedBuild)
    second = build(OTHER, {}, fresh)
    assert isinstance(second, CachedBuild)
    assert (first.cached, second.cached) == (False, True)
    assert second.intermediate == first.intermediate
    first.module_path.write_bytes(first.module_path.read_bytes()[:100])
    third = build(OTHER, {}, fresh)
    assert isinstance(third, CachedBuild)
    assert not third.cached
    assert third.module_path.stat().st_size > 100
    (third.module_path.parent / "build.json").write_text('{"ok": true')
    fourth = build(OTHER, {}, fresh)
    assert isinstance(fourth, CachedBuild)
    assert not fourth.cached


def test_failures_of_the_source_are_cached(build: Compile, fresh: Path) -> None:
    code = kernels.ELEMENTWISE.replace("x[i] *", "zz[i] *")
    first = build(code, {}, fresh)
    assert isinstance(first, BuildFailed)
    (entry,) = (fresh / "builds").rglob("build.json")
    record = json.loads(entry.read_text())
    assert not record["ok"]
    entry.write_text(json.dumps({**record, "reason": "read from the cache"}))
    second = build(code, {}, fresh)
    assert isinstance(second, BuildFailed)
    assert second.reason == "read from the cache"


def test_a_cache_that_cannot_be_written_says_what_to_do(build: Compile, fresh: Path) -> None:
    (fresh / "builds").write_text("a file where the directory should be")
    with pytest.raises(InfraError) as caught:
        build(OTHER, {}, fresh)
    assert "KFORGE_CACHE" in caught.value.next_step
    assert str(fresh) in caught.value.message


def test_a_full_disk_leaves_no_half_entry(build: Compile, fresh: Path) -> None:
    """/dev/full stands in for the disk: the cache directory cannot be made there."""
    os.symlink("/dev/full", fresh / "builds")
    with pytest.raises(InfraError):
        build(OTHER, {}, fresh)
