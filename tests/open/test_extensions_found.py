"""Finding extension calls without a compiler: the tree, the recorder, the flags, the slim directory."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from kforge.eval.open import triton_access
from kforge.eval.open.extension_build import own_fault
from kforge.eval.open.extension_calls import (
    ExtensionCall,
    FileSources,
    InlineSources,
    UnusableCall,
    inline_call,
)
from kforge.eval.open.extension_finder import Found, find_calls, read_call
from kforge.eval.open.extension_flags import FlagRefused, Flags, accepted_flags
from kforge.eval.open.extension_headers import slim_headers
from kforge.eval.open.extension_static import Reading, read_calls
from kforge.eval.open.extension_toolchain import toolchain
from kforge.eval.sandbox import layers
from kforge.types import BuildFailed, ScreenedOut

IMPORT = "from torch.utils.cpp_extension import load_inline\n"
CANDIDATES = sorted((Path(__file__).parents[2] / "benchmarks" / "extensions").glob("*.py"))


def read(text: str) -> Reading:
    reading = read_calls(text)
    assert isinstance(reading, Reading), reading
    return reading


def found(text: str) -> Found:
    result = asyncio.run(find_calls(text))
    assert isinstance(result, Found), result
    return result


@pytest.mark.parametrize(
    "text",
    [
        IMPORT + 'load_inline("a", "text", functions=["f"])',
        IMPORT + 'load_inline(name="a", cpp_sources=["text"], functions="f")',
        IMPORT + 'S = "te"\nT = f"{S}xt"\nload_inline("a", cpp_sources=T, functions=["f"], verbose=True)',
        IMPORT + 'S = "text" + ""\nF = {"f": "f"}\nm = load_inline("a", S, functions=F, extra_cflags=[""])',
        'import torch.utils\ntorch.utils.cpp_extension.load_inline("a", "text", None, None, ["f"])',
        'from torch.utils import cpp_extension\nm = cpp_extension.load_inline("a", "text", functions=["f"])',
    ],
)
def test_calls_with_constant_arguments_are_read_from_the_tree(text: str) -> None:
    reading = read(text)
    assert reading.complete
    assert [(each.call, each.certain) for each in reading.calls] == [
        (inline_call("a", "text", functions=["f"]), True)
    ]


@pytest.mark.parametrize(
    "rest",
    [
        'S = "a"\nS = "b"\nload_inline("a", S)',
        'S = ["a"]\nS.append("b")\nload_inline("a", S)',
        'def f(S):\n    load_inline("a", S)\n',
        'import os\nload_inline("a", os.getcwd())',
        'build = load_inline\nbuild("a", "b")',
        'load_inline("a", **{"cpp_sources": "b"})',
        'from torch.utils.cpp_extension import load\nload("a", ["x.cpp"])',
        'import importlib\nimportlib.import_module("torch.utils.cpp_extension").load_inline("a", "b")',
        "from torch.utils.cpp_extension import load_inline as compile_it\n",
    ],
)
def test_anything_else_is_left_to_the_recorder(rest: str) -> None:
    assert not read(IMPORT + rest).complete


def test_a_call_that_only_a_function_makes_is_not_certain() -> None:
    reading = read(IMPORT + 'class ModelNew:\n    def __init__(self):\n        load_inline("a", "text")\n')
    assert [each.certain for each in reading.calls] == [False]


def test_a_file_without_extensions_or_with_other_loads_needs_nothing() -> None:
    assert read("import torch\ntorch.load('x')\n") == Reading((), complete=True)
    assert read(IMPORT + "import json\njson.load(open('x'))\ntorch.load('x')\n") == Reading((), complete=True)


@pytest.mark.parametrize("path", CANDIDATES, ids=lambda path: path.stem)
def test_typical_candidates_need_no_recorder(path: Path) -> None:
    reading = read(path.read_text())
    assert reading.complete == (path.stem not in ("load_files", "built_in_init"))


def test_the_recorder_sees_what_only_running_shows() -> None:
    text = IMPORT + (
        "import torch, sys\ntext = ''.join(['one', 'two'])\n"
        "m = load_inline('a', text, functions=['f'])\n"
        "try:\n    m.f(1)\nexcept RuntimeError as error:\n    assert 'not built yet' in str(error)\n"
        "load_inline('b', m.__name__ + '!')\nsys.exit(3)\n"
    )
    result = found(text)
    assert result.recorder
    assert [each.call.name for each in result.calls] == ["a", "b"]
    assert [
        each.call.sources.cpp for each in result.calls if isinstance(each.call.sources, InlineSources)
    ] == [
        ("onetwo",),
        ("a!",),
    ]


def test_load_reads_the_files_that_the_candidate_wrote() -> None:
    text = next(path for path in CANDIDATES if path.stem == "load_files").read_text()
    (first,), (second,) = found(text).calls, found(text).calls
    assert isinstance(first.call.sources, FileSources)
    assert first.call.sources.compiled == ("binding.cpp", "kernel.cu")
    assert [name for name, _ in first.call.sources.files] == ["binding.cpp", "kernel.cu", "tile.cuh"]
    assert first.call.digest == second.call.digest, "another scratch directory, the same call"


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ('load_inline("not a name", "x")', "no identifier"),
        ('load_inline("a", 3)', "cpp_sources is a int"),
        ('load_inline("a", "x", functions=["f); evil("])', "no function name"),
        ('load_inline("a", "x", sycl_sources="y")', "SYCL"),
        ('load_inline("a", "x".lower(), nonsense=1)', "nonsense"),
    ],
)
def test_arguments_that_make_no_extension_fail_the_build(rest: str, reason: str) -> None:
    result = asyncio.run(find_calls(IMPORT + rest))
    assert isinstance(result, BuildFailed)
    assert reason in result.reason


@pytest.mark.skipif(not layers()["landlock"], reason="no Landlock here")
def test_the_recorder_writes_and_connects_nowhere(tmp_path: Path) -> None:
    target = tmp_path / "written"
    text = IMPORT + (
        "import socket\nseen = []\n"
        f"for attempt in (lambda: open({str(target)!r}, 'w'), lambda: open('/etc/passwd'), socket.socket):\n"
        "    try: attempt(); seen.append('open')\n"
        "    except OSError: seen.append('refused')\n"
        "load_inline('a', ' '.join(seen))\n"
    )
    (only,) = found(text).calls
    assert isinstance(only.call.sources, InlineSources)
    assert only.call.sources.cpp == ("refused refused refused",)
    assert not target.exists()


def test_a_forged_call_is_validated() -> None:
    with pytest.raises(ValueError, match="name"):
        read_call('{"cflags": []}')
    text = (
        IMPORT
        + "import os\nos.write(int(os.environ['KFORGE_RESULT_FD']), b'{\"call\": 3}\\n')\nload_inline(*[])\n"
    )
    assert isinstance(asyncio.run(find_calls(text)), BuildFailed)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["-O3", "--use_fast_math", "-lineinfo"], ("-O3", "--use_fast_math", "-lineinfo")),
        (["-gencode=arch=compute_80,code=sm_80", "-arch=sm_70", "-O2"], ("-O2",)),
        (["-gencode", "arch=compute_80,code=sm_80", "-arch", "sm_70"], ()),
        (["-Xptxas", "-v", "-Xptxas=-O3"], ("-Xptxas", "-v", "-Xptxas=-O3")),
        (["-O3 -std=c++17 --expt-extended-lambda"], ("-O3", "-std=c++17", "--expt-extended-lambda")),
        (["-Xcompiler", "-fPIC,-O3"], ("-Xcompiler", "-fPIC", "-Xcompiler", "-O3")),
        (["-U__CUDA_NO_HALF_OPERATORS__", "-DN=4"], ("-U__CUDA_NO_HALF_OPERATORS__", "-DN=4")),
        (["-maxrregcount=64", "--maxrregcount", "32"], ("-maxrregcount=64", "--maxrregcount", "32")),
    ],
)
def test_flags_of_kernels_pass_and_architectures_are_dropped(
    given: list[str], passed: tuple[str, ...]
) -> None:
    assert accepted_flags([], given, []) == Flags((), passed, ())


@pytest.mark.parametrize(
    "flag",
    [
        "-fplugin=x.so", "-include /etc/passwd", "-I/home", "@file", "-B/tmp", "-specs=x",
        "-Wl,-rpath,/tmp", "-wrapper", "-Wp,-include,/etc/passwd", "-Wa,-a=f", "-ccbin=/tmp/cc",
        "-DX=$(id)", "-DX=`id`", "-DX=1;id", "-o/tmp/x", "-Xcompiler=-fplugin=x.so",
        "--compiler-bindir=/tmp", "-optf", "--run", "-x", "-imacros", "-dumpdir",
    ],
)  # fmt: skip
def test_other_flags_are_refused_by_name(flag: str) -> None:
    for refused in (accepted_flags([flag], [], []), accepted_flags([], [flag], [])):
        assert isinstance(refused, FlagRefused)
        assert flag.split(" ", maxsplit=1)[0] in refused.reason


def test_libraries_are_those_of_cuda_and_torch() -> None:
    assert accepted_flags([], [], ["-lcublas -lcurand", "-L/usr/local/cuda/lib64"]) == Flags(
        (), (), ("-lcublas", "-lcurand")
    )
    for flag in ("-lssl", "-L/tmp", "/tmp/evil.o", "-Wl,--wrap=malloc", "-T/tmp/script"):
        assert isinstance(accepted_flags([], [], [flag]), FlagRefused)


def test_the_digest_is_of_everything_that_changes_the_code() -> None:
    base = inline_call("a", "x", "y", functions=["f"])
    others = [
        inline_call("b", "x", "y", functions=["f"]),
        inline_call("a", "x2", "y", functions=["f"]),
        inline_call("a", "x", "y2", functions=["f"]),
        inline_call("a", "x", "y", functions=["g"]),
        inline_call("a", "x", "y", functions=["f"], extra_cflags=["-O1"]),
        inline_call("a", "x", "y", functions=["f"], extra_cuda_cflags=["-O1"]),
        inline_call("a", "x", "y", functions=["f"], no_implicit_headers=True),
    ]
    assert len({call.digest for call in (base, *others)}) == 1 + len(others)
    assert (
        inline_call("a", ["x"], ["y"], functions=["f"], verbose=True, build_directory="/tmp").digest
        == base.digest
    )


def test_a_call_survives_its_journey() -> None:
    call: ExtensionCall = inline_call("a", "x", "y", functions={"f": "doc"}, extra_ldflags=["-lcublas"])
    assert read_call(json.dumps(call.to_json())) == call


def test_slim_headers_hold_the_operators_that_the_text_names() -> None:
    made = slim_headers(
        ["torch::Tensor f(torch::Tensor x) { return torch::relu(at::zeros_like(x)); }"], _include()
    )
    assert made is not None
    assert "<ATen/ops/relu.h>" in made["torch/extension.h"]
    assert "<ATen/ops/zeros_like.h>" in made["torch/extension.h"]
    assert "<ATen/ops/conv2d.h>" not in made["torch/extension.h"]
    assert "ATen/Dispatch.h" not in made["torch/extension.h"]


@pytest.mark.parametrize(
    "text",
    ["struct A : torch::autograd::Function<A> {};", "torch::nn::Linear l(1, 2);", "TORCH_LIBRARY(a, m) {}",
     "auto y = torch::empty({1}, x.options().requires_grad(true));", "#include <torch/script.h>"],
)  # fmt: skip
def test_texts_that_need_the_full_headers_are_not_tried_with_slim_ones(text: str) -> None:
    assert slim_headers([text], _include()) is None


def _include() -> Path:
    return toolchain().include[0]


def test_triton_is_found_and_missed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert triton_access.refuse_without_triton("import torch\n# import triton\n") is None
    for text in ("import triton", "def f():\n    import triton.language as tl", "from triton import jit"):
        refused = triton_access.refuse_without_triton(text)
        assert isinstance(refused, ScreenedOut)
        assert "pip install triton" in refused.reason


def test_a_triton_candidate_gets_a_cache_of_its_own(tmp_path: Path) -> None:
    assert triton_access.triton_environment(tmp_path)["TRITON_CACHE_DIR"].startswith(str(tmp_path))


def test_unusable_calls_say_what_is_wrong() -> None:
    with pytest.raises(UnusableCall, match="extra_include_paths"):
        inline_call("a", "x", extra_include_paths=["/opt/cutlass"])


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("main.cpp:3:4: error: expected ';' before 'return'", True),
        ('cuda.cu(7): error: expected a ";"', True),
        ('cuda.cu(7): error: identifier "no_such_name_4711" is undefined', True),
        ("main.cpp:3:4: error: ‘no_such_name_4711’ was not declared in this scope", True),
        ('cuda.cu(7): error: identifier "checkAllSameGPU" is undefined', False),
        ("main.cpp:3:4: error: ‘class at::Tensor’ has no member named ‘no_such_name_4711’", False),
        ("fatal error: ATen/x.h: No such file or directory", False),
        ("", False),
    ],
)
def test_the_full_headers_are_tried_only_where_they_could_help(line: str, own: bool) -> None:
    assert own_fault(line, _include()) is own
    assert not own_fault(f"{line}\nx: error: something else", _include())
