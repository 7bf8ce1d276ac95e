"""The C++ and CUDA extensions of an open candidate: found before it runs, built once, handed over.

The driver calls ``build`` in the build stage; the candidate's process calls ``install`` before any of the
candidate's code (it imports that from ``extension_install``, which brings little with it). What the first
did not find the second reports as ``ExtensionMissing``; the driver then calls ``build`` with that call in
``more`` and starts the candidate again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from kforge.errors import KforgeError
from kforge.eval.open import extension_cache, extension_headers
from kforge.eval.open.extension_build import BUILD_LIMITS, Headers, Objects, Workplace, compile_objects, link
from kforge.eval.open.extension_cache import Stored
from kforge.eval.open.extension_calls import ExtensionCall
from kforge.eval.open.extension_finder import MAX_CALLS, Found, find_calls, read_call
from kforge.eval.open.extension_flags import FlagRefused, Flags, accepted_flags
from kforge.eval.open.extension_install import ExtensionMissing, Installed, install
from kforge.eval.open.extension_static import FoundCall
from kforge.eval.open.extension_toolchain import Nvcc, Toolchain, nvcc, toolchain
from kforge.eval.sandbox import Limits
from kforge.types import BuildFailed, InfraFailed, TimedOut

__all__ = [
    "BuiltExtension", "ExtensionCall", "ExtensionMissing", "ExtensionsBuilt", "Installed", "build", "install",
    "read_call",
]  # fmt: skip


# Twice what one extension may take.
TOTAL_S = 2 * BUILD_LIMITS.wall_s


@dataclass(frozen=True, slots=True)
class BuiltExtension:
    """One shared object in the cache.

    Attributes:
        call: digest of the call that asks for it (``ExtensionCall.digest``).
        name: module name.
        path: the shared object; no candidate can write it.
        headers: whether kforge's slim headers sufficed, or torch's full ones were needed.
        build_s: wall seconds of the compilers, also when it came from the cache.
        cached: it had been built before.
        log: what the compilers said (warnings, resource usage).
    """

    call: str
    name: str
    path: Path
    headers: Headers
    build_s: float
    cached: bool
    log: str


@dataclass(frozen=True, slots=True)
class ExtensionsBuilt:
    """All extensions found so far.

    Attributes:
        extensions: in the order found.
        found_s: wall seconds of finding the calls.
        recorder: the candidate's module level had to be run to find them.
    """

    extensions: tuple[BuiltExtension, ...]
    found_s: float
    recorder: bool

    def paths(self) -> Mapping[str, str]:
        """What ``install`` takes: digest of a call to path of its shared object."""
        return {extension.call: str(extension.path) for extension in self.extensions}


async def build(
    text: str,
    *,
    device_arch: str | None,
    cache_dir: Path,
    more: Sequence[ExtensionCall] = (),
    limits: Limits = BUILD_LIMITS,
    total_s: float = TOTAL_S,
) -> ExtensionsBuilt | BuildFailed | TimedOut | InfraFailed:
    """Find the extension calls of a candidate and build each through the cache.

    A call that only some branch or function makes is built too, but its failure is told only when the
    candidate asks for it: then it comes back in ``more``.

    Args:
        text: the candidate's file.
        device_arch: ``sm_90a`` and the like; None: no CUDA device, CUDA sources are refused.
        cache_dir: kforge's build cache; extensions lie in ``extensions/<hash>/``.
        more: calls that the candidate's process met and that were not found before.
        limits: of each compiler process.
        total_s: wall seconds for all extensions together.
    """
    started = asyncio.get_running_loop().time()
    found = await find_calls(text)
    if not isinstance(found, Found):
        return found
    found_s = asyncio.get_running_loop().time() - started
    wanted = {
        each.call.digest: each for each in (*found.calls, *(FoundCall(call, certain=True) for call in more))
    }
    if len(wanted) > MAX_CALLS:
        return BuildFailed(f"the candidate asks for more than {MAX_CALLS} extensions", "")
    built: list[BuiltExtension] = []
    try:
        async with asyncio.timeout(total_s):
            for each in wanted.values():
                result = await build_call(
                    each.call, device_arch=device_arch, cache_dir=cache_dir, limits=limits
                )
                if isinstance(result, BuiltExtension):
                    built.append(result)
                elif each.certain or isinstance(result, InfraFailed):
                    return result
    except TimeoutError:
        return TimedOut(f"the extensions did not build within {total_s:g} s", "build", total_s)
    return ExtensionsBuilt(tuple(built), found_s, found.recorder)


async def build_call(
    call: ExtensionCall, *, device_arch: str | None, cache_dir: Path, limits: Limits = BUILD_LIMITS
) -> BuiltExtension | BuildFailed | TimedOut | InfraFailed:
    """Build one call through the cache. What the source is to blame for is cached too."""
    flags = accepted_flags(call.cflags, call.cuda_cflags, call.ldflags)
    if isinstance(flags, FlagRefused):
        return BuildFailed(flags.reason, "")
    if call.uses_cuda and device_arch is None:
        return BuildFailed(
            f"the extension {call.name} has CUDA sources; the device of this run executes none", ""
        )
    try:
        tools = toolchain()
        cuda = nvcc() if call.with_cuda and device_arch is not None else None
        key = extension_cache.build_key(call, device_arch, _versions(tools, cuda))
        home = extension_cache.home_of(cache_dir, key)
        known = extension_cache.read(home)
        made = known or await _build(
            call, home, flags=flags, tools=tools, cuda=cuda, arch=device_arch, limits=limits
        )
    except KforgeError as error:
        return InfraFailed(f"{error.message} {error.next_step}")
    if not isinstance(made, Stored):
        return made
    cached = known is not None
    return BuiltExtension(call.digest, call.name, made.path, made.headers, made.build_s, cached, made.log)


async def _build(
    call: ExtensionCall,
    home: Path,
    *,
    flags: Flags,
    tools: Toolchain,
    cuda: Nvcc | None,
    arch: str | None,
    limits: Limits,
) -> Stored | BuildFailed | TimedOut | InfraFailed:
    started = asyncio.get_running_loop().time()
    with TemporaryDirectory(prefix="kforge-extension-") as scratch:
        place = Workplace(call, flags, tools, cuda, arch, Path(scratch), limits)
        objects = await compile_objects(place)
        linked = await link(place, objects) if isinstance(objects, Objects) else objects
        if isinstance(linked, TimedOut | InfraFailed):
            return linked
        if isinstance(linked, BuildFailed):
            extension_cache.write(home, linked)
            return linked
        assert isinstance(objects, Objects)
        build_s = asyncio.get_running_loop().time() - started
        extension_cache.write(home, Stored(linked, objects.headers, build_s, objects.log))
    stored = extension_cache.read(home)
    if isinstance(stored, Stored):
        return stored
    return InfraFailed(f"the extension just built is not readable at {home}: free space, then try again")


def _versions(tools: Toolchain, cuda: Nvcc | None) -> str:
    return f"{tools.version}; {cuda.version if cuda is not None else 'no CUDA'}; kforge {_own_version()}"


@cache
def _own_version() -> str:
    """Hash of what kforge itself puts into a build: headers, bindings, flags."""
    own = [Path(extension_headers.__file__), *sorted(extension_headers.HOME.iterdir())]
    own += [Path(__file__).with_name(f"extension_{part}.py") for part in ("build", "flags")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in own)).hexdigest()[:16]
