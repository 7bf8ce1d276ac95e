"""Compiles one extension in confined children: each source by itself, slim headers first, then the full ones.

Nothing of the candidate's is executed here. A compiler is given its texts, which are hostile: it may read the
system, torch's headers and the scratch directory, write only into the latter, and has limits.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kforge.eval.open.extension_calls import (
    CUDA_SUFFIXES,
    HEADER_SUFFIXES,
    ExtensionCall,
    FileSources,
    InlineSources,
)
from kforge.eval.open.extension_flags import Flags
from kforge.eval.open.extension_headers import slim_headers
from kforge.eval.open.extension_toolchain import Nvcc, Toolchain
from kforge.eval.sandbox import ChildResult, FileAccess, Limits, run_limited, scrubbed_environment
from kforge.types import BuildFailed, InfraFailed, TimedOut

Headers = Literal["slim", "full"]
# nvcc with torch's full headers takes a minute and a half of a busy core and 3 GB.
BUILD_LIMITS = Limits(
    wall_s=600.0, cpu_s=400.0, memory_bytes=16 << 30, file_bytes=1 << 30, processes=2048, nice=10
)
LOG_CHARS = 6000
SYSTEM_PATHS = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/proc",
    "/sys",
    "/dev",
)
# As torch passes them to nvcc.
_NVCC_FLAGS = (
    "-D__CUDA_NO_HALF_OPERATORS__", "-D__CUDA_NO_HALF_CONVERSIONS__", "-D__CUDA_NO_BFLOAT16_CONVERSIONS__",
    "-D__CUDA_NO_HALF2_OPERATORS__", "--expt-relaxed-constexpr",
)  # fmt: skip
# Errors that headers cannot cause, and names that are missing (nvcc's words, then g++'s).
_SYNTAX = re.compile(
    r"error: (expected |unterminated |missing |stray |invalid suffix|empty character|#error)"
)
_UNDEFINED = re.compile(
    r"""error: (?:identifier "(\w+)" is undefined|['‘](\w+)['’] was not declared in this scope)"""
)
_ERROR = re.compile(r"^.*\berror\b.*: .*$|^.*: error: .*$|^.*: fatal error: .*$", re.M)


@dataclass(frozen=True, slots=True)
class Objects:
    """Compiled sources, ready to be linked."""

    paths: tuple[Path, ...]
    headers: Headers
    log: str


@dataclass(frozen=True, slots=True)
class Workplace:
    """Everything one build needs.

    Attributes:
        call: what is built.
        flags: the candidate's accepted flags.
        tools: g++ and torch.
        cuda: nvcc; None where the extension has no use for it.
        arch: ``sm_90a`` and the like; None without a CUDA device.
        scratch: directory of this build alone.
        limits: of each compiler process.
    """

    call: ExtensionCall
    flags: Flags
    tools: Toolchain
    cuda: Nvcc | None
    arch: str | None
    scratch: Path
    limits: Limits = BUILD_LIMITS

    @property
    def readable(self) -> tuple[str, ...]:
        """What compilers and linker may read beside the scratch directory."""
        own = [self.tools.torch / "include", self.tools.torch / "lib", self.tools.python_include]
        if self.cuda is not None:
            own += [self.cuda.home, *self.cuda.include, *self.cuda.lib]
        return (*SYSTEM_PATHS, *map(str, own))


async def compile_objects(
    place: Workplace, attempts: Sequence[Headers] = ("slim", "full")
) -> Objects | BuildFailed | TimedOut | InfraFailed:
    """Compile all sources of the call with the first kind of headers that serves.

    Args:
        place: the build.
        attempts: which headers to try, in order.
    """
    sources = _write_sources(place)
    last = BuildFailed("the text asks for what only torch's full headers hold", "")
    for headers in attempts:
        if headers == "slim" and not _write_slim(place, sources):
            continue
        results = await asyncio.gather(*(_compile(place, source, headers) for source in sources))
        log = _log(place, results)
        ended = next((outcome for result in results if (outcome := _unusual(result, place.limits))), None)
        if ended is not None:
            return ended
        if all(result.exit_code == 0 for result in results):
            why = "" if headers == attempts[0] else f"slim headers did not serve: {last.reason}\n"
            return Objects(tuple(_object(source) for source in sources), headers, why + log)
        last = BuildFailed(first_error(log), log)
        if await asyncio.to_thread(own_fault, log, place.tools.include[0]):
            break
    return last


async def link(place: Workplace, objects: Objects) -> Path | BuildFailed | TimedOut | InfraFailed:
    """Link the objects into ``<name>.so`` in the scratch directory."""
    result = place.scratch / f"{place.call.name}.so"
    torch_lib = place.tools.torch / "lib"
    command = [str(place.tools.gxx), "-shared", *map(str, objects.paths), "-o", str(result), f"-L{torch_lib}"]
    command += ["-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"]
    if place.call.with_cuda and place.cuda is not None:
        command += [
            "-lc10_cuda",
            "-ltorch_cuda",
            *(f"-L{directory}" for directory in place.cuda.lib),
            "-lcudart",
        ]
    command += place.flags.libraries
    ended = await _run(place, command)
    unusual = _unusual(ended, place.limits)
    if unusual is not None:
        return unusual
    if ended.exit_code != 0:
        log = _log(place, [ended])
        return BuildFailed(first_error(log), log)
    return result


def _library(flag: str, directories: Sequence[Path]) -> str:
    """The flag for a library; pip's wheels of CUDA have ``libcublas.so.13`` but no ``libcublas.so``."""
    name = f"lib{flag.removeprefix('-l')}.so"
    if not flag.startswith("-l") or any((directory / name).exists() for directory in directories):
        return flag
    versions = [path.name for directory in directories for path in sorted(directory.glob(f"{name}.*"))]
    return f"-l:{versions[0]}" if versions else flag


def _write_sources(place: Workplace) -> list[Path]:
    """Put the texts where the compilers find them; the paths of those to be compiled."""
    home = place.scratch / "sources"
    home.mkdir()
    match place.call.sources:
        case InlineSources() as inline:
            texts = {"main.cpp": _main_cpp(inline)}
            if inline.cuda:
                implicit = ["#include <torch/types.h>", "#include <cuda.h>", "#include <cuda_runtime.h>"]
                texts["cuda.cu"] = "\n".join(
                    [*(implicit if inline.implicit_headers else []), *inline.cuda, ""]
                )
            compiled = list(texts)
        case FileSources() as given:
            texts, compiled = dict(given.files), list(given.compiled)
    for name, text in texts.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [home / name for name in compiled]


def _main_cpp(inline: InlineSources) -> str:
    lines = ["#include <torch/extension.h>"] if inline.implicit_headers else []
    lines += inline.cpp
    if inline.functions is not None:
        bound = "torch::wrap_pybind_function(f)" if inline.wrap_errors else "f"
        lines += [
            "#ifdef KFORGE_SLIM",
            "#define KFORGE_BOUND(f) f",
            "#else",
            f"#define KFORGE_BOUND(f) {bound}",
        ]
        lines += ["#endif", "PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {"]
        lines += [
            f'm.def("{name}", KFORGE_BOUND({name}), {json.dumps(text)});' for name, text in inline.functions
        ]
        lines.append("}")
    return "\n".join([*lines, ""])


def _write_slim(place: Workplace, sources: Sequence[Path]) -> bool:
    """Make the slim include directory of each source; False when one of them cannot do with it."""
    shared = [p.read_text() for p in (place.scratch / "sources").rglob("*") if p.suffix in HEADER_SUFFIXES]
    for source in sources:
        made = slim_headers([source.read_text(), *shared], place.tools.include[0])
        if made is None:
            return False
        for name, text in made.items():
            path = _slim_home(source) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return True


def _slim_home(source: Path) -> Path:
    return source.with_name(source.name + ".slim")


def _object(source: Path) -> Path:
    return source.with_name(source.name + ".o")


async def _compile(place: Workplace, source: Path, headers: Headers) -> ChildResult:
    """Compile one source. With nvcc, code for the one architecture of the device and nothing else."""
    include = [f"-I{_slim_home(source)}"] if headers == "slim" else []
    if isinstance(place.call.sources, FileSources):
        include += [f"-I{place.scratch / 'sources' / folder}" for folder in place.call.sources.include]
    for directory in (*place.tools.include, *(place.cuda.include if place.cuda is not None else ())):
        include += ["-isystem", str(directory)]
    common = [f"-DTORCH_EXTENSION_NAME={place.call.name}", "-DTORCH_API_INCLUDE_EXTENSION_H", *include]
    std = f"-std={place.tools.std}"
    if source.suffix in CUDA_SUFFIXES:
        assert place.cuda is not None
        assert place.arch is not None
        number = place.arch.removeprefix("sm_")
        command = [str(place.cuda.program), *common, *_NVCC_FLAGS, "-gencode"]
        command += [f"arch=compute_{number},code=sm_{number}", "-Xcompiler", "-fPIC"]
        command += _with_default_level(_newer_standard(place.flags.nvcc, std))
    else:
        command = [str(place.tools.gxx), *common, "-fPIC"]
        command += _with_default_level(_newer_standard(place.flags.cxx, std))
    return await _run(place, [*command, "-c", str(source), "-o", str(_object(source))])


def _with_default_level(flags: Sequence[str]) -> list[str]:
    """-O3 unless the candidate chooses; torch itself would compile host code without optimisation."""
    return list(flags) if any(flag.startswith("-O") for flag in flags) else ["-O3", *flags]


def _newer_standard(flags: Sequence[str], std: str) -> list[str]:
    """The candidate's standard where it is newer than torch's; older ones do not compile torch's headers."""
    asked = [flag for flag in flags if flag.lstrip("-").startswith("std=")]
    kept = [flag for flag in flags if flag not in asked]
    newer = [flag for flag in asked if flag[-2:].isdigit() and int(flag[-2:]) > int(std[-2:])]
    return [*kept, newer[-1] if newer else std]


async def _run(place: Workplace, command: Sequence[str]) -> ChildResult:
    scratch = str(place.scratch)
    path = [str(place.cuda.program.parent)] if place.cuda is not None else []
    environment = scrubbed_environment({"HOME": scratch, "TMPDIR": scratch, "LC_ALL": "C.UTF-8"})
    environment["PATH"] = ":".join([*path, str(place.tools.gxx.parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return await run_limited(
        command,
        limits=place.limits,
        env=environment,
        cwd=scratch,
        files=FileAccess(read=place.readable, write=("/dev/null", scratch)),
        result_bytes=0,
    )


def _unusual(ended: ChildResult, limits: Limits) -> TimedOut | InfraFailed | BuildFailed | None:
    """How a compiler ended other than by an answer."""
    if ended.timed_out or ended.signal == 24:  # SIGXCPU
        what = "the compiler did not finish in time; simplify templates, constexpr loops and unrolling"
        return TimedOut(f"{what} (limit {limits.wall_s:g} s)", "build", limits.wall_s)
    tail = ended.stderr.decode(errors="replace")[-LOG_CHARS:]
    if ended.exit_code == 125:  # launcher.FAILED
        return InfraFailed(f"the compiler cannot be started: {tail[-500:]}")
    if ended.signal is not None:
        return BuildFailed(f"the compiler crashed on this source (signal {ended.signal})", tail)
    return None


def _log(place: Workplace, results: Sequence[ChildResult]) -> str:
    """What the compilers said, in the candidate's own file names; the head matters most."""
    text = "\n".join((r.stdout + r.stderr).decode(errors="replace").strip() for r in results).strip()
    text = text.replace(f"{place.scratch}/sources/", "").replace(f"{place.tools.torch}/include/", "<torch>/")
    return text[:LOG_CHARS]


def first_error(log: str) -> str:
    """The line that tells most."""
    found = _ERROR.search(log)
    if found is not None:
        return found[0].strip()[:500]
    return (log.strip().splitlines() or ["the compiler gave no message"])[-1][:500]


def own_fault(log: str, torch_include: Path) -> bool:
    """Whether other headers cannot help: every error is one of syntax or of a name that torch does not have.

    Most failures are of this kind, and the full headers would take a minute to say the same.
    """
    errors = [line for line in log.splitlines() if "error:" in line]
    return bool(errors) and all(_SYNTAX.search(line) or _foreign(line, torch_include) for line in errors)


def _foreign(line: str, torch_include: Path) -> bool:
    """Whether the line misses a name that is in none of torch's headers."""
    missing = _UNDEFINED.search(line)
    if missing is None:
        return False
    word = missing[1] or missing[2]
    command = ["grep", "-rqwF", "--include=*.h", "--include=*.cuh", "--", word, str(torch_include)]
    return subprocess.run(command, check=False, timeout=60, env=scrubbed_environment()).returncode == 1
