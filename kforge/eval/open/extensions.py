"""The C++ and CUDA extensions of an open candidate: found without running it on a device, built once, handed over.

The driver calls ``build`` in the build stage; the candidate's process calls ``install`` (in ``extension_install``)
before any of the candidate's code. What the first did not find the second reports as ``ExtensionMissing``; the
driver then calls ``build`` with that call in ``more`` and starts the candidate again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kforge.eval.open.extension_calls import ExtensionCall
from kforge.types import BuildFailed, InfraFailed, TimedOut

Headers = Literal["slim", "full"]


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
) -> ExtensionsBuilt | BuildFailed | TimedOut | InfraFailed:
    """Find the extension calls of a candidate and build each through the cache.

    Args:
        text: the candidate's file.
        device_arch: ``sm_90a`` and the like; None: no CUDA device, CUDA sources are refused.
        cache_dir: kforge's build cache; extensions lie in ``extensions/<hash>/``.
        more: calls that the candidate's process met and that were not found before.
    """
    raise NotImplementedError
