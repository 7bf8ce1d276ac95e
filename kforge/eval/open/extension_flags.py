"""Which compiler and linker flags an extension may bring; the rest is refused by name.

A flag can read files, load plug-ins or run programs (``-fplugin``, ``-wrapper``, ``-ccbin``, ``@file``), so only
flags that are known to change nothing but the code are accepted. Architectures are dropped: the device decides.
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
_CODE = r"-O[0-3sz]?|-Ofast|-g[0-3]?|-std=(?:c|gnu)\+\+\w+|-w|-W(?!l,|p,|a,)[\w=+\-]*|-pedantic|-fPIC|-fpic|-pipe|-v|-s"
_F_FLAGS = (
    r"-f(?:no-)?(?:fast-math|math-errno|finite-math-only|trapping-math|associative-math|unsafe-math-optimizations"
    r"|signed-zeros|reciprocal-math|unroll-loops|unroll-all-loops|tree-vectorize|vectorize|inline-functions|inline"
    r"|strict-aliasing|omit-frame-pointer|openmp|openmp-simd|exceptions|rtti|permissive|peel-loops|ipa-pta|lto"
    r"|tree-loop-vectorize|tree-slp-vectorize|prefetch-loop-arrays|stack-protector|semantic-interposition|common"
    r"|visibility-inlines-hidden|rounding-math|split-loops|modulo-sched|gcse|gcse-las)"
    r"|-fvisibility=\w+|-ffp-contract=\w+|-fopt-info[\w\-]*|-ftemplate-depth=\d+|-fconcepts|-fdiagnostics-color=\w+"
)
_M_FLAGS = r"-m(?:no-)?(?:arch=[\w\-.]+|tune=[\w\-.]+|avx\w*|sse[\w.]*|fma|f16c|bmi2?|popcnt|prefer-vector-width=\d+|cpu=[\w\-.+]+)"
_CXX = re.compile(f"(?:{_CODE}|{_DEFINE}|{_F_FLAGS}|{_M_FLAGS}|-pthread)")
_NVCC = re.compile(
    r"--?use_fast_math|--?expt-[\w\-]+|--?extended-lambda|--?extra-device-vectorization|--?maxrregcount[= ]\d+"
    r"|--?lineinfo|-lineinfo|--?ftz=\w+|--?prec-(?:div|sqrt)=\w+|--?fmad=\w+|--?resource-usage|-res-usage|-G"
    r"|--?generate-line-info|--?default-stream[= ][\w\-]+|--?threads[= ]?\d+|-t[= ]?\d+|--?std=c\+\+\w+"
    r"|--?ptxas-options=[\w,=\-.]+|-Xptxas[= ][\w,=\-.]+|-Xcudafe[= ][\w,=\-.\"]+|--?diag[-_]suppress[= ][\d,]+"
    r"|--?split-compile[= ]\d+|--?restrict|-restrict|--?dopt[= ]\w+|--?keep-device-functions|--?Werror[= ][\w\-]+"
    r"|--?source-in-ptx|-src-in-ptx|--?verbose|--?disable-warnings|--?optimize[= ]?\d|--?device-debug|--?m64|-m64"
    r"|--?relocatable-device-code=false|-rdc=false|--?display-error-number|--?allow-unsupported-compiler"
    r"|--?no-exceptions|--?Wno-deprecated-gpu-targets|-Wno-deprecated-gpu-targets"
)
# Which GPU to build for is not the candidate's choice.
_ARCHITECTURE = re.compile(r"-(?:gencode|arch|code)\b.*|--?(?:generate-code|gpu-architecture|gpu-code)\b.*")
# Flags of two words.
_PAIRED = (
    "-gencode", "--generate-code", "-arch", "--gpu-architecture", "-code", "--gpu-code", "-Xptxas", "--ptxas-options",
    "-Xcompiler", "--compiler-options", "-Xcudafe", "-maxrregcount", "--maxrregcount", "-D", "-U",
    "-diag-suppress", "--diag-suppress", "--diag_suppress", "-default-stream", "--default-stream", "-std", "--std",
    "--threads", "-t", "-O", "--optimize",
)  # fmt: skip
_HOST = re.compile(r"(?:-Xcompiler|--compiler-options)[= ]?(.*)", re.S)
_LINK = re.compile(
    r"-l([\w+]+)|-L/usr/local/cuda[\w./\-]*|-Wl,-rpath[,=][\w./\-$]+|-Wl,-O\d|-O\d|-pthread|-fopenmp|-s|-shared|-flto"
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
    """Sort an extension's flags into those that are passed on, those that are dropped and the first refused."""
    cxx, nvcc, libraries = [], [], []
    for flag in _joined(cflags):
        if _CXX.fullmatch(flag) is None:
            return FlagRefused(flag, "extra_cflags")
        cxx.append(flag)
    for flag in _joined(cuda_cflags):
        if _ARCHITECTURE.fullmatch(flag):
            continue
        host = _HOST.fullmatch(flag)
        if host is not None:
            for part in host[1].strip("\"'").replace(",", " ").split():
                if _CXX.fullmatch(part.strip("\"'")) is None:
                    return FlagRefused(flag, "extra_cuda_cflags")
                nvcc += ["-Xcompiler", part.strip("\"'")]
        elif _NVCC.fullmatch(flag) or _CXX.fullmatch(flag):
            nvcc += flag.split(" ") if flag.startswith(_PAIRED) and not flag.startswith("-D") else [flag]
        else:
            return FlagRefused(flag, "extra_cuda_cflags")
    for flag in _joined(ldflags):
        found = _LINK.fullmatch(flag)
        if found is None or (found[1] is not None and found[1] not in LIBRARIES):
            return FlagRefused(flag, "extra_ldflags")
        if found[1] is not None and f"-l{found[1]}" not in libraries:
            libraries.append(f"-l{found[1]}")
        elif flag in ("-fopenmp", "-pthread"):
            libraries.append(flag)
    return Flags(tuple(cxx), tuple(nvcc), tuple(libraries))


def wants_specific_architecture(cuda_cflags: Iterable[str]) -> bool:
    """Whether the candidate asks for instructions of one architecture only (``sm_90a``)."""
    return any(re.search(r"(?:sm|compute)_\d+a\b", flag) is not None for flag in cuda_cflags)


def _joined(flags: Iterable[str]) -> Iterator[str]:
    """Flags one by one: a string may hold several, and a flag of two words may come as two strings."""
    words = [word for flag in flags for word in _split(flag)]
    index = 0
    while index < len(words):
        word = words[index]
        if word in _PAIRED and index + 1 < len(words) and not (word == "-O"):
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
