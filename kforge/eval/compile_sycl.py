"""SYCL through SYCL-RTC: source to SPIR-V to a device image, in a child process, with no icpx.

``TUNE`` values are macros. They are defined after ``<sycl/sycl.hpp>`` rather than by ``-D``, because a
macro named ``N`` or ``X`` on the command line breaks the SYCL headers themselves.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from kforge.eval.compiled import Compiled
from kforge.eval.sandbox import (
    PACKAGE_ROOT,
    ChildResult,
    FileAccess,
    Limits,
    run_limited,
    scrubbed_environment,
)
from kforge.eval.scratch import scratch_directory
from kforge.eval.sycl_runtime import ensure_shim, runtime_version, shim_path, wheel_prefix
from kforge.types import BuildFailed, CandidateSource, DeviceInfo, InfraFailed, Language, Scalar, TimedOut

BUILD_LIMITS = Limits(wall_s=60.0, cpu_s=60.0, memory_bytes=8 << 30, file_bytes=256 << 20, nice=10)
BUILD_OPTIONS = ("-O3", "-ferror-limit=10", "-ftemplate-depth=256", "-fconstexpr-steps=1000000")
LOG_TAIL_CHARS = 6000
# By somebody, or by the kernel because memory ran out; the source may be to blame or not.
KILLED = InfraFailed("the build child was killed (signal 9)")
RESULT_BYTES = 128 << 20
_CHILD = str(Path(__file__).with_name("sycl_build_child.py"))
SYSTEM_PATHS = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc",
    "/sys",
    "/dev",
)


def prelude(tune: Mapping[str, Scalar]) -> str:
    """What kforge puts before a candidate's device code: the SYCL header and the tune macros."""
    defines = "".join(f"#define {name} {macro_value(value)}\n" for name, value in tune.items())
    return f'#include <sycl/sycl.hpp>\n{defines}#line 1 "candidate.cpp"\n'


def macro_value(value: Scalar) -> str:
    """A tune value as C++ source text."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if value >= 0 else f"({value})"
        case float():
            return f"({value!r})"
        case str():
            return value


class SyclBuilder:
    """The SYCL entry of the registry."""

    @property
    def language(self) -> Language:
        """SYCL."""
        return "sycl"

    def version(self) -> str:
        """SYCL wheel version, shim and prelude: everything that can change the code."""
        return f"{runtime_version()} {shim_path(Path('.')).name} {' '.join(BUILD_OPTIONS)} prelude-1"

    def target(self, device: DeviceInfo) -> str:
        """Device and driver: the image is theirs."""
        return f"{device.backend} {device.name} {device.driver}"

    async def build(
        self, source: CandidateSource, tune: Mapping[str, Scalar], device: DeviceInfo, cache_dir: Path
    ) -> Compiled | BuildFailed | TimedOut | InfraFailed:
        """Compile in a child; crash, timeout and flood are outcomes."""
        shim = ensure_shim(cache_dir)
        job = {
            "shim": str(shim),
            "selector": device.selector,
            "source": prelude(tune) + source.device_code,
            "options": list(BUILD_OPTIONS),
        }
        readable = (
            sys.prefix,
            sys.base_prefix,
            str(wheel_prefix()),
            str(shim.parent),
            PACKAGE_ROOT,
            *SYSTEM_PATHS,
        )
        with scratch_directory("kforge-build-") as scratch:
            child = await run_limited(
                [sys.executable, "-I", "-B", _CHILD, PACKAGE_ROOT],
                limits=BUILD_LIMITS,
                stdin=json.dumps(job).encode(),
                env={**scrubbed_environment(), "HOME": scratch, "TMPDIR": scratch},
                files=FileAccess(read=readable, write=("/dev/null", scratch)),
                result_bytes=RESULT_BYTES,
            )
        return _interpret(child, prelude(tune).count("\n"))


def _interpret(child: ChildResult, prelude_lines: int) -> Compiled | BuildFailed | TimedOut | InfraFailed:
    if child.timed_out or child.signal == signal.SIGXCPU:
        return TimedOut(
            f"the compiler did not finish within {BUILD_LIMITS.wall_s:g} s; simplify templates, constexpr "
            "loops and unrolling",
            "build",
            BUILD_LIMITS.wall_s,
        )
    try:
        result = json.loads(child.result)
        ok, log = bool(result["ok"]), str(result["log"])
        if ok:
            module, objects = base64.b64decode(result["image"]), base64.b64decode(result["object"])
            return Compiled(module, objects, log[-LOG_TAIL_CHARS:])
    except (ValueError, KeyError, TypeError):
        return _crashed(child)
    log = _tidy(log, prelude_lines)
    return BuildFailed(_first_error(log), log)


def _crashed(child: ChildResult) -> BuildFailed | InfraFailed:
    tail = child.stderr.decode(errors="replace")[-LOG_TAIL_CHARS:]
    if child.signal == signal.SIGKILL:
        return KILLED
    if child.signal is not None:
        reason = f"the compiler crashed on this source (signal {child.signal})"
        return BuildFailed(f"{reason}; group_local_memory is known to crash it, use local_accessor", tail)
    if "MemoryError" in tail or "bad_alloc" in tail or "out of memory" in tail.lower():
        return BuildFailed("the compiler ran out of its memory limit on this source", tail)
    return InfraFailed(f"the build child ended with code {child.exit_code}: {tail.strip()[-500:]}")


def _tidy(log: str, prelude_lines: int) -> str:
    """Diagnostics in the candidate's own lines, without include stacks; the head matters most."""

    def own_line(match: re.Match[str]) -> str:
        return f"candidate.cpp:{max(0, int(match[1]) - prelude_lines)}:"

    kept = [line.strip("\n") for line in log.splitlines() if not line.startswith("In file included from")]
    text = re.sub(r"rtc_\d+\.cpp:(\d+):", own_line, "\n".join(kept))
    text = re.sub(r"/sycl-jit-toolchain/\S*?/include/", "<include>/", text)
    return text.removeprefix("Device compilation failed\nDetailed information:\n\t")[:LOG_TAIL_CHARS]


def _first_error(log: str) -> str:
    for line in log.splitlines():
        if "error:" in line:
            return line.strip()[:500]
    return (log.strip().splitlines() or ["the compiler gave no message"])[-1][:500]
