"""Extensions on the card: built with nvcc, slim headers first, run and compared with eager PyTorch.

Needs nvcc, g++ and a CUDA build of torch. The candidates are those of ``benchmarks/extensions``; each is
a file as a model writes it, with ``ModelNew``, ``get_inputs`` and ``reference``. Times go to the captured
output: run with ``-s`` to see them, or ``python -m benchmarks.extension_headers --full`` for the table.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kforge
from kforge.errors import MissingPrerequisite
from kforge.eval.open import extension_finder
from kforge.eval.open.extension_toolchain import nvcc
from kforge.eval.open.extensions import BuiltExtension, ExtensionCall, ExtensionsBuilt, build
from kforge.eval.open.triton_access import refuse_without_triton, triton_environment
from kforge.types import DeviceInfo

ROOT = Path(kforge.__file__).parents[1]
CANDIDATES = sorted((ROOT / "benchmarks" / "extensions").glob("*.py"))
# A minute of compilers and processes for these; all of them take five.
QUICK = ("relu_float4", "bias_gelu_dispatch", "layernorm_two_kernels", "cublas_gemm", "built_in_init")
SOME_FIRST = [
    pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow])
    for path in CANDIDATES
]
# Too much of the library for the slim headers, by intent.
NEED_FULL = ("autograd_function",)
# Built when the model is made: the first run asks for it.
ASK_LATER = ("built_in_init",)

RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from kforge.eval.open.extension_install import ExtensionMissing, install
installed = install(json.loads(sys.argv[2]))
space = {"__name__": "candidate"}
try:
    exec(compile(sys.stdin.read(), "candidate.py", "exec"), space)
    import torch
    torch.manual_seed(1)
    torch.backends.cudnn.allow_tf32 = False
    inputs = [x.cuda() for x in space["get_inputs"]()]
    with torch.no_grad():
        model = space["ModelNew"]().cuda()
        ours, theirs = model(*inputs), space["reference"](*inputs)
    torch.cuda.synchronize()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    print("EQUAL")
except ExtensionMissing:
    print(json.dumps([call.to_json() for call in installed.missing]))
"""


@pytest.fixture(scope="module", autouse=True)
def _nvcc() -> None:
    try:
        nvcc()
    except MissingPrerequisite as error:
        pytest.skip(f"{error.message} Next: {error.next_step}")


def built(
    text: str, device: DeviceInfo, cache: Path, more: tuple[ExtensionCall, ...] = ()
) -> ExtensionsBuilt:
    result = asyncio.run(build(text, device_arch=device.arch, cache_dir=cache, more=more))
    assert isinstance(result, ExtensionsBuilt), result
    return result


def run(text: str, extensions: ExtensionsBuilt, scratch: Path) -> str:
    command = [sys.executable, "-c", RUN, str(ROOT), json.dumps(extensions.paths())]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=200, check=False, cwd=scratch
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def shown(extension: BuiltExtension) -> None:
    sys.stdout.write(f"\n{extension.name}: {extension.headers}, {extension.build_s:.1f} s\n")


@pytest.mark.parametrize("path", SOME_FIRST)
def test_a_published_style_candidate_builds_and_computes(
    path: Path, device: DeviceInfo, cache: Path, tmp_path: Path
) -> None:
    text = path.read_text()
    extensions = built(text, device, cache)
    said = run(text, extensions, tmp_path)
    if path.stem in ASK_LATER:
        (asked,) = json.loads(said)
        call = extension_finder.read_call(json.dumps(asked))
        extensions = built(text, device, cache, more=(call,))
        said = run(text, extensions, tmp_path)
    assert said == "EQUAL"
    for extension in extensions.extensions:
        shown(extension)
        assert extension.headers == ("full" if path.stem in NEED_FULL else "slim")


@pytest.mark.slow
def test_slim_and_full_headers_give_the_same_results(device: DeviceInfo, cache: Path, tmp_path: Path) -> None:
    """A mention of ``requires_grad`` in a comment is enough for kforge to take the full headers."""
    path = next(path for path in CANDIDATES if path.stem == "relu_float4")
    text = path.read_text().replace(
        "#include <torch/extension.h>", "#include <torch/extension.h> // requires_grad"
    )
    extensions = built(text, device, cache)
    assert [extension.headers for extension in extensions.extensions] == ["full"]
    shown(extensions.extensions[0])
    assert run(text, extensions, tmp_path) == "EQUAL"


TRITON = """
import torch, triton
import triton.language as tl

@triton.jit
def double_kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, 2 * tl.load(x + i, mask=i < n), mask=i < n)

class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        double_kernel[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
        return y

def get_inputs():
    return [torch.randn(10000)]

def reference(x):
    return 2 * x
"""


def test_a_triton_candidate_runs_with_a_cache_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refuse_without_triton(TRITON)
    if refused is not None:
        pytest.skip(refused.reason)
    candidate = tmp_path / "candidate.py"  # triton reads the kernel's source from its file
    candidate.write_text(TRITON)
    for name, value in triton_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    text = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom candidate import *\n"
    assert run(text, ExtensionsBuilt((), 0.0, recorder=False), tmp_path) == "EQUAL"
    assert any((tmp_path / "triton").rglob("*.cubin"))
