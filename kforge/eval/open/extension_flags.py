"""Which compiler and linker flags an extension may bring; the rest is refused by name.

A flag can read files, load plug-ins or run programs (``-fplugin``, ``-wrapper``, ``-ccbin``, ``@file``), so
only flags that are known to change nothing but the code are accepted. Architectures are dropped: the device
decides.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# NVIDIA libraries that torch ships with; the rest of CUDA's libraries have no place in a kernel.
LIBRARIES = (
    "cublas", "cublasLt", "cudart", "cuda", "curand", "cusparse", "cusolver", "cufft", "cudnn", "nvrtc", "m",
    "stdc++", "gomp", "pthread", "dl", "c", "gcc_s", "c10", "c10_cuda", "torch", "torch_cpu", "torch_cuda",
    "torch_python",
)  # fmt: skip
# nvcc hands values to a shell: nothing that means something there.
_DEFINE = r"-[DU][A-Za-z_]\w*(?:=[\w.+\-*/, :]*)?"
_CODE = (
    r"-O[0-3sz]?|-Ofast|-g[0-3]?|-std=(?:c|gnu)\+\+\w+|-w|-W(?!l,|p,|a,)[\w=+\-]*|-pedantic"
    r"|-fPIC|-fpic|-pipe|-v"
    r"|-s|-pthread"
)
_SWITCHES = (
    "fast-math", "math-errno", "finite-math-only", "trapping-math", "associative-math", "signed-zeros",
    "unsafe-math-optimizations", "reciprocal-math", "unroll-loops", "unroll-all-loops", "tree-vectorize",
    "vectorize", "inline-functions", "inline", "strict-aliasing", "omit-frame-pointer", "openmp",
    "openmp-simd", "exceptions", "rtti", "permissive", "peel-loops", "ipa-pta", "tree-loop-vectorize",
    "tree-slp-vectorize",
    "prefetch-loop-arrays", "stack-protector", "semantic-interposition", "visibility-inlines-hidden",
    "rounding-math", "split-loops", "gcse", "lto",
)  # fmt: skip
_F_FLAGS = (
    rf"-f(?:no-)?(?:{'|'.join(_SWITCHES)})|-fvisibility=\w+|-ffp-contract=\w+|-ftemplate-depth=\d+"
    r"|-fdiagnostics-color=\w+"
)
_M_FLAGS = (
    r"-m(?:no-)?(?:arch=[\w\-.]+|tune=[\w\-.]+|cpu=[\w\-.+]+|avx\w*|sse[\w.]*|fma|f16c|bmi2?|popcnt"
    r"|prefer-vector-width=\d+)"
)
_CXX = re.compile("|".join((_CODE, _DEFINE, _F_FLAGS, _M_FLAGS)))
# One dash or two, hyphens or underscores: nvcc takes them all.
_NVCC = re.compile(
    r"--?(?:use_fast_math|extended-lambda|extra-device-vectorization|lineinfo|generate-line-info|resource-usage"
    r"|res-usage|restrict|keep-device-functions|source-in-ptx|src-in-ptx|verbose|disable-warnings|device-debug|G"
    r"|m64|display-error-number|allow-unsupported-compiler|Wno-deprecated-gpu-targets|expt-[\w\-]+"
    r"|relocatable-device-code=false|rdc=false|ftz=\w+|prec-(?:div|sqrt)=\w+|fmad=\w+|std=c\+\+\w+"
    r"|maxrregcount[= ]\d+|default-stream[= ][\w\-]+|threads[= ]?\d+|t[= ]?\d+|split-compile[= ]\d+"
    r"|dopt[= ]\w+|Werror[= ][\w\-]+|optimize[= ]?\d|diag[-_]suppress[= ][\d,]+"
    r"|(?:ptxas-options|Xptxas)[= ][\w,=\-.]+|Xcudafe[= ][\w,=\-.]+)"
)
# Which GPU to build for is not the candidate's choice.
_ARCHITECTURE = re.compile(r"-(?:gencode|arch|code)\b.*|--?(?:generate-code|gpu-architecture|gpu-code)\b.*")
# Flags of two words.
_PAIRED = (
    "-gencode", "--generate-code", "-arch", "--gpu-architecture", "-code", "--gpu-code", "-Xptxas",
    "--ptxas-options", "-Xcompiler", "--compiler-options", "-Xcudafe", "-maxrregcount", "--maxrregcount",
    "-D", "-U", "-diag-suppress", "--diag-suppress", "--diag_suppress", "-default-stream", "--default-stream",
    "-std", "--std", "--threads", "-t", "--optimize",
)  # fmt: skip
_HOST = re.compile(r"(?:-Xcompiler|--compiler-options)[= ]?(.*)", re.S)
_LINK = re.compile(
    r"-l([\w+]+)|-L/usr/local/cuda[\w./\-]*"
    r"|-Wl,-rpath[,=][\w./\-$]+|-Wl,-O\d|-O\d|-pthread|-fopenmp"
    r"|-s|-shared|-flto"
)


@dataclass(frozen=True, slots=True)
class Flags:
    """Accepted flags: for g++, for nvcc, and the libraries to link."""

    cxx: tuple[str, ...]
    nvcc: tuple[str, ...]
    libraries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FlagRefused:
    """A flag that is not on the list."""

    flag: str
    where: str

    @property
    def reason(self) -> str:
        """For the candidate's author."""
        return f"{self.where}: the flag {self.flag[:100]!r} is not accepted; leave it out"


def accepted_flags(
    cflags: Iterable[str], cuda_cflags: Iterable[str], ldflags: Iterable[str]
) -> Flags | FlagRefused:
    """The flags of an extension that are passed on, or the first one that is not known."""
    cxx = tuple(_joined(cflags))
    wrong = next((flag for flag in cxx if _CXX.fullmatch(flag) is None), None)
    if wrong is not None:
        return FlagRefused(wrong, "extra_cflags")
    nvcc: list[str] = []
    for flag in _joined(cuda_cflags):
        passed = _for_nvcc(flag)
        if passed is None:
            return FlagRefused(flag, "extra_cuda_cflags")
        nvcc += passed
    libraries: dict[str, None] = {}
    for flag in _joined(ldflags):
        found = _LINK.fullmatch(flag)
        if found is None or (found[1] is not None and found[1] not in LIBRARIES):
            return FlagRefused(flag, "extra_ldflags")
        if found[1] is not None or flag in ("-fopenmp", "-pthread"):
            libraries[flag] = None
    return Flags(cxx, tuple(nvcc), tuple(libraries))


def _for_nvcc(flag: str) -> list[str] | None:
    """What nvcc is given for a flag: nothing for an architecture; None: it is refused."""
    if _ARCHITECTURE.fullmatch(flag):
        return []
    host = _HOST.fullmatch(flag)
    if host is not None:
        parts = [part.strip("\"'") for part in host[1].strip("\"'").replace(",", " ").split()]
        known = all(_CXX.fullmatch(part) for part in parts)
        return [word for part in parts for word in ("-Xcompiler", part)] if known else None
    if _NVCC.fullmatch(flag):
        return flag.split(" ")
    return [flag] if _CXX.fullmatch(flag) else None


def _joined(flags: Iterable[str]) -> Iterator[str]:
    """Flags one by one: a string may hold several, and a flag of two words may come as two strings."""
    words = [word for flag in flags for word in _split(flag)]
    index = 0
    while index < len(words):
        word = words[index]
        if word in _PAIRED and index + 1 < len(words):
            separator = "" if word in ("-D", "-U") else "=" if word in ("-std", "--std") else " "
            yield word + separator + words[index + 1]
            index += 2
        else:
            yield word
            index += 1


def _split(flag: str) -> list[str]:
    """Words of one string; blanks inside quotes or in ``-DNAME=a b`` stay, as they would in a shell."""
    try:
        return shlex.split(flag)
    except ValueError:
        return [flag]
