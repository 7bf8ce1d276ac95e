"""CUDA through NVRTC: source to a cubin for one exact architecture, in a child process; no toolkit, no GPU.

``TUNE`` values are macros. They are defined after the headers that the candidate includes, because a macro
named ``N`` in front of them breaks the headers themselves.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from kforge.eval.compile_sycl import KILLED, LOG_TAIL_CHARS, SYSTEM_PATHS, macro_value
from kforge.eval.compiled import Compiled
from kforge.eval.cuda_toolkit import Toolkit, runnable_nvdisasm, toolkit
from kforge.eval.device_code import Unreadable, tokenize
from kforge.eval.sandbox import (
    PACKAGE_ROOT,
    ChildResult,
    FileAccess,
    Limits,
    run_limited,
    scrubbed_environment,
)
from kforge.eval.scratch import scratch_directory
from kforge.types import BuildFailed, CandidateSource, DeviceInfo, InfraFailed, Language, Scalar, TimedOut

BUILD_LIMITS = Limits(wall_s=90.0, cpu_s=90.0, memory_bytes=16 << 30, file_bytes=256 << 20, nice=10)
RESULT_BYTES = 192 << 20
FILE_NAME = "candidate.cu"
# Directories before a file that a diagnostic names: "/a/b.cuh(12): ..." or "... at line 12 of /a/b.cuh".
_PATH = re.compile(r"(?<![\w.<])(?:/[^\s/:()\"]+)+/(?=[^\s/:()\"]+(?:\(\d+\)|\.(?:h|hpp|cuh|inl)\b))")
_CHILD = str(Path(__file__).with_name("cuda_build_child.py"))


def prelude(device_code: str, tune: Mapping[str, Scalar]) -> str:
    """What kforge puts before a candidate's device code: its own headers first, then the tune macros.

    Headers guard themselves, so including them once more where the candidate does is free.
    """
    includes: list[str] = []
    if tune:
        for line in tokenize(device_code):
            texts = [token.text for token in line]
            if texts[:2] == ["#", "include"]:
                header = "".join(texts[2:])
                if header not in includes:
                    includes.append(header)
    lines = [f"#include {header}\n" for header in includes]
    lines += [f"#define {name} {macro_value(value)}\n" for name, value in tune.items()]
    return "".join(lines) + f'#line 1 "{FILE_NAME}"\n'


class CudaBuilder:
    """The CUDA entry of the registry."""

    @property
    def language(self) -> Language:
        """CUDA."""
        return "cuda"

    def version(self) -> str:
        """Compiler and prelude: what beside source and architecture can change the code."""
        return f"{toolkit().version} c++17 prelude-1"

    def target(self, device: DeviceInfo) -> str:
        """The architecture: machine code depends on nothing else of a card."""
        return device.arch

    async def build(
        self, source: CandidateSource, tune: Mapping[str, Scalar], device: DeviceInfo, cache_dir: Path
    ) -> Compiled | BuildFailed | TimedOut | InfraFailed:
        """Compile and disassemble in a child; crash, timeout and flood are outcomes."""
        tools = toolkit()
        disassembler = runnable_nvdisasm(cache_dir)
        try:
            text = prelude(source.device_code, tune) + source.device_code
        except Unreadable as error:
            return BuildFailed(str(error), "")
        with scratch_directory("kforge-build-") as scratch:
            job = {
                "source": text,
                "arch": device.arch,
                "include": list(tools.include),
                "nvdisasm": str(disassembler),
                "scratch": scratch,
            }
            child = await run_limited(
                [sys.executable, "-I", "-B", _CHILD],
                limits=BUILD_LIMITS,
                stdin=json.dumps(job).encode(),
                env={**scrubbed_environment(), "HOME": scratch, "TMPDIR": scratch},
                files=FileAccess(read=_readable(tools, disassembler), write=("/dev/null", scratch)),
                result_bytes=RESULT_BYTES,
            )
        return _interpret(child)


def _readable(tools: Toolkit, disassembler: Path) -> tuple[str, ...]:
    from cuda import bindings, core

    packages = {str(Path(module.__path__[0]).parent.parent) for module in (bindings, core)}
    own = (sys.prefix, sys.base_prefix, PACKAGE_ROOT, str(tools.libraries), str(disassembler))
    return (*own, *tools.include, *packages, *SYSTEM_PATHS)


def _interpret(child: ChildResult) -> Compiled | BuildFailed | TimedOut | InfraFailed:
    if child.timed_out or child.signal == signal.SIGXCPU:
        return TimedOut(
            f"the compiler did not finish within {BUILD_LIMITS.wall_s:g} s; simplify templates and unrolling",
            "build",
            BUILD_LIMITS.wall_s,
        )
    try:
        result = json.loads(child.result)
        ok, log = bool(result["ok"]), tidy(str(result["log"]))
        if ok:
            return Compiled(base64.b64decode(result["cubin"]), str(result["sass"]).encode(), log)
    except (ValueError, KeyError, TypeError):
        return _crashed(child)
    return BuildFailed(_first_error(log), log)


def _crashed(child: ChildResult) -> BuildFailed | InfraFailed:
    tail = child.stderr.decode(errors="replace")[-LOG_TAIL_CHARS:]
    if child.signal == signal.SIGKILL:
        return KILLED
    if child.signal is not None:
        return BuildFailed(f"the compiler crashed on this source (signal {child.signal})", tail)
    if "MemoryError" in tail or "bad_alloc" in tail:
        return BuildFailed("the compiler ran out of its memory limit on this source", tail)
    return InfraFailed(f"the build child ended with code {child.exit_code}: {tail.strip()[-500:]}")


def tidy(log: str) -> str:
    """Diagnostics without paths of this machine and without advice about warnings; the head matters most."""
    text = _PATH.sub("<include>/", log.replace("\0", ""))
    lines = [
        line.rstrip() for line in text.splitlines() if not line.startswith("Remark: The warnings can be")
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()[:LOG_TAIL_CHARS]


def _first_error(log: str) -> str:
    for line in log.splitlines():
        if "error" in line:
            return line.strip()[:500]
    return (log.strip().splitlines() or ["the compiler gave no message"])[-1][:500]
