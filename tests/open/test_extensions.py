"""Extensions of open candidates: found, built with real compilers, handed to the candidate's process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kforge.eval.open import extension_finder
from kforge.eval.open.extension_calls import ExtensionCall, inline_call
from kforge.eval.open.extension_toolchain import toolchain
from kforge.eval.open.extensions import ExtensionsBuilt, build
from kforge.eval.sandbox import Limits, layers
from kforge.types import BuildFailed, TimedOut

CPP = """
torch::Tensor twice(torch::Tensor x, std::optional<torch::Tensor> bias) {
    TORCH_CHECK(x.dim() == 1, "one dimension, got ", x.dim());
    auto y = torch::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "twice", [&] {
        const scalar_t* in = x.data_ptr<scalar_t>();
        for (int64_t i = 0; i < x.numel(); ++i) y.data_ptr<scalar_t>()[i] = 2 * in[i];
    });
    return bias.has_value() ? y + *bias : y;
}
std::vector<torch::Tensor> halves(torch::Tensor x, int64_t at) {
    return {x.slice(0, 0, at), x.slice(0, at)};
}
std::tuple<double, bool, std::string> facts(double a, const std::vector<int64_t>& sizes, bool flag) {
    return {a * sizes.size(), !flag, "text"};
}
"""
CANDIDATE = f'''
import torch
from torch.utils.cpp_extension import load_inline

source = """{CPP}"""
names = ["twice", "halves", "facts"]
extension = load_inline(name="doubled", cpp_sources=source, functions=names, verbose=True)
'''
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from kforge.eval.open.extension_install import ExtensionMissing, install
installed = install(json.loads(sys.argv[2]))
try:
    exec(sys.stdin.read())
except ExtensionMissing as missing:
    print("MISSING", missing.call.name)
print(json.dumps([call.to_json() for call in installed.missing]))
"""
QUICK = Limits(wall_s=120.0, cpu_s=100.0, memory_bytes=16 << 30, file_bytes=1 << 30, nice=10)


def built(text: str, cache: Path, more: tuple[ExtensionCall, ...] = ()) -> ExtensionsBuilt:
    result = asyncio.run(build(text, device_arch=None, cache_dir=cache, more=more, limits=QUICK))
    assert isinstance(result, ExtensionsBuilt), result
    return result


def run(text: str, paths: object) -> str:
    """What a candidate prints in a process of its own with these extensions."""
    command = [sys.executable, "-c", RUN, str(Path(extension_finder.__file__).parents[3]), json.dumps(paths)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def doubled(cache: Path) -> ExtensionsBuilt:
    return built(CANDIDATE, cache)


def test_a_typical_extension_needs_only_slim_headers_and_no_recorder(doubled: ExtensionsBuilt) -> None:
    (extension,) = doubled.extensions
    assert (extension.name, extension.headers, doubled.recorder) == ("doubled", "slim", False)
    assert extension.path.name == "doubled.so"


def test_it_computes_and_refuses_as_torchs_own_binding_does(doubled: ExtensionsBuilt) -> None:
    use = """
x = torch.arange(4.0)
print(extension.twice(x, None).tolist(), extension.twice(x.double(), torch.ones(4)).tolist())
print([t.tolist() for t in extension.halves(x, 3)], extension.facts(1.5, [3, 4], True))
for wrong in ((3, None), (x,), (x, None, 1)):
    try: extension.twice(*wrong)
    except TypeError as error: print("TypeError", error)
try: extension.twice(torch.ones(2, 2), None)
except RuntimeError as error: print("RuntimeError", error)
try: extension.halves(x, 2.5)
except TypeError as error: print("TypeError", error)
"""
    lines = run(CANDIDATE + use, doubled.paths()).splitlines()
    assert lines[0] == "[0.0, 2.0, 4.0, 6.0] [1.0, 3.0, 5.0, 7.0]"
    assert lines[1] == "[[0.0, 1.0, 2.0], [3.0]] (3.0, False, 'text')"
    assert lines[2:5] == ["TypeError twice(): incompatible function arguments"] * 3
    assert lines[5].startswith("RuntimeError one dimension, got 2")
    assert lines[6] == "TypeError halves(): incompatible function arguments"
    assert lines[7] == "[]"


def test_the_second_build_comes_from_the_cache(doubled: ExtensionsBuilt, cache: Path) -> None:
    again = built(CANDIDATE + "\nx = 1\n", cache)
    assert [e.cached for e in again.extensions] == [True]
    assert again.paths() == doubled.paths()


def test_the_shared_object_is_read_only(doubled: ExtensionsBuilt) -> None:
    assert os.stat(doubled.extensions[0].path).st_mode & 0o222 == 0


def test_a_damaged_cache_entry_is_built_again(cache: Path, tmp_path: Path) -> None:
    text = CANDIDATE.replace("doubled", "damaged")
    (first,) = built(text, tmp_path).extensions
    first.path.chmod(0o644)
    first.path.write_bytes(b"not what was built")
    (second,) = built(text, tmp_path).extensions
    assert not second.cached
    assert second.path.read_bytes()[:4] == b"\x7fELF"


def test_one_name_with_other_contents_is_another_extension(doubled: ExtensionsBuilt, cache: Path) -> None:
    other = CANDIDATE.replace("2 * in[i]", "5 * in[i]")
    paths = dict(doubled.paths()) | dict(built(other, cache).paths())
    use = "\nprint(extension.twice(torch.ones(1), None).item())\n"
    assert run(CANDIDATE + use, paths).splitlines()[0] == "2.0"
    assert run(other + use, paths).splitlines()[0] == "5.0"


def test_what_was_not_built_is_asked_for_and_then_built(doubled: ExtensionsBuilt, cache: Path) -> None:
    text = CANDIDATE + 'late = load_inline("doubled", source, None, None, ["tw" + "ice".lower()])\n'
    swallowed = text.replace("late =", "try:\n    late =") + "except Exception:\n    print('swallowed')\n"
    said = run(swallowed, doubled.paths()).splitlines()
    assert said[0] == "MISSING doubled"
    (asked,) = json.loads(said[1])
    call = extension_finder.read_call(json.dumps(asked))
    assert call.sources == inline_call("doubled", CPP, functions=["twice"]).sources
    paths = built(CANDIDATE, cache, more=(call,)).paths()
    assert run(text + "print(late.twice(torch.ones(1), None).item())", paths).splitlines()[0] == "2.0"


def test_a_compile_error_is_a_value_with_the_candidates_own_line(cache: Path) -> None:
    text = CANDIDATE.replace("auto y = torch::empty_like(x);", "auto y = torch::empty_like(x)")
    failed = asyncio.run(build(text, device_arch=None, cache_dir=cache, limits=QUICK))
    assert isinstance(failed, BuildFailed)
    assert failed.reason.startswith("main.cpp:")
    assert "expected" in failed.reason
    again = asyncio.run(build(text, device_arch=None, cache_dir=cache, limits=QUICK))
    assert again == failed


def test_cuda_sources_without_a_cuda_device_are_refused(cache: Path) -> None:
    text = (
        'from torch.utils.cpp_extension import load_inline\nload_inline("a", "", "__global__ void k() {}")\n'
    )
    failed = asyncio.run(build(text, device_arch=None, cache_dir=cache))
    assert isinstance(failed, BuildFailed)
    assert "has CUDA sources" in failed.reason


def test_a_compile_bomb_ends_at_its_limit(cache: Path) -> None:
    bomb = "template <int n> struct A { static const int v = A<n - 1>::v + A<n - 2>::v; };"
    text = f'from torch.utils.cpp_extension import load_inline\nload_inline("b", """{bomb}\n' + (
        "constexpr long f(long n) { return n < 2 ? n : f(n - 1) + f(n - 2); }\n"
        'constexpr long x = f(60);""", extra_cflags=["-ftemplate-depth=100000"])\n'
    )
    limits = Limits(wall_s=3.0, cpu_s=3.0, memory_bytes=4 << 30, file_bytes=1 << 20)
    ended = asyncio.run(build(text, device_arch=None, cache_dir=cache, limits=limits))
    assert isinstance(ended, TimedOut | BuildFailed)


def test_many_extensions_are_bounded_in_number_and_in_time(cache: Path) -> None:
    head = "from torch.utils.cpp_extension import load_inline\n"
    many = head + "".join(f'load_inline("a{i}", "x")\n' for i in range(40))
    failed = asyncio.run(build(many, device_arch=None, cache_dir=cache))
    assert isinstance(failed, BuildFailed)
    assert "more than 32" in failed.reason
    text = CANDIDATE.replace("doubled", "late")
    ended = asyncio.run(build(text, device_arch=None, cache_dir=cache, limits=QUICK, total_s=0.5))
    assert isinstance(ended, TimedOut)


@pytest.mark.skipif(not layers()["landlock"], reason="no Landlock here")
def test_sources_cannot_include_files_outside_the_compilers_own(cache: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h"
    secret.write_text("int secret_value_4711;")
    text = f"""
from torch.utils.cpp_extension import load_inline
load_inline("reader", '#include "{secret}"', functions=[], no_implicit_headers=True)
"""
    failed = asyncio.run(build(text, device_arch=None, cache_dir=cache, limits=QUICK))
    assert isinstance(failed, BuildFailed)
    assert "Permission denied" in failed.log
    assert "4711" not in failed.log


@pytest.mark.slow
def test_what_slim_headers_lack_is_built_with_the_full_ones(cache: Path) -> None:
    text = CANDIDATE.replace(
        "return bias.has_value()",
        "(void)torch::cuda::is_available();\n return bias.has_value()",
    )
    (extension,) = built(text, cache).extensions
    assert extension.headers == "full"
    assert extension.log.startswith("slim headers did not serve: main.cpp:")
    use = "\nprint(extension.twice(torch.ones(1), None).item())\n"
    assert run(text + use, {extension.call: str(extension.path)}).splitlines()[0] == "2.0"


def test_the_toolchain_names_everything_that_changes_the_code() -> None:
    assert "g++" in toolchain().version
    assert "torch" in toolchain().version
    assert toolchain().std.startswith("c++")
