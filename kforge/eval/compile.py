"""The builders, one per language, in a visible list; builds are content-addressed on disk.

A builder turns device code into an executable module and the intermediate code that facts are read from.
It answers with a value for anything the source does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kforge.errors import InfraError, MissingPrerequisite
from kforge.eval.compile_cuda import CudaBuilder
from kforge.eval.compile_sycl import KILLED, SyclBuilder
from kforge.eval.compiled import Compiled
from kforge.eval.scratch import sweep
from kforge.types import BuildFailed, CandidateSource, DeviceInfo, InfraFailed, Language, Scalar, TimedOut

PARTIAL = ".partial-"  # an entry that is being written


class Builder(Protocol):
    """Compiles the device code of one language."""

    @property
    def language(self) -> Language:
        """What it compiles."""
        ...

    def version(self) -> str:
        """Compiler and runtime version, part of every build's address."""
        ...

    def target(self, device: DeviceInfo) -> str:
        """What of a device a build depends on, part of its address."""
        ...

    async def build(
        self, source: CandidateSource, tune: Mapping[str, Scalar], device: DeviceInfo, cache_dir: Path
    ) -> Compiled | BuildFailed | TimedOut | InfraFailed:
        """Compile in a child process."""
        ...


BUILDERS: tuple[Builder, ...] = (SyclBuilder(), CudaBuilder())


def builder_for(language: Language) -> Builder:
    """The builder of a language.

    Raises:
        MissingPrerequisite: this version builds no such language.
    """
    for builder in BUILDERS:
        if builder.language == language:
            return builder
    raise MissingPrerequisite(
        f"This version of kforge has no builder for LANGUAGE = {language!r}; it has "
        f"{', '.join(b.language for b in BUILDERS)}.",
        "write the candidate in one of these languages",
    )


@dataclass(frozen=True, slots=True)
class CachedBuild:
    """A build in the cache directory: the module file, the intermediate code, the compiler's log."""

    key: str
    module_path: Path
    intermediate: bytes
    log: str
    cached: bool


def build_key(source: CandidateSource, tune: Mapping[str, Scalar], version: str, target: str) -> str:
    """Content address of a build: device code, macros, compiler and target, nothing of the plan."""
    parts = {
        "code": source.device_code,
        "tune": dict(sorted(tune.items())),
        "language": source.language,
        "compiler": version,
        "target": target,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


async def cached_build(
    source: CandidateSource, tune: Mapping[str, Scalar], device: DeviceInfo, cache_dir: Path
) -> CachedBuild | BuildFailed | TimedOut | InfraFailed:
    """Build through the cache. Failures of the source are cached too; timeouts and crashes of kforge are not.

    A compiler that was killed is started once more: it may not have been this source's doing.

    Raises:
        MissingPrerequisite: no builder, wheel or compiler.
        InfraError: the cache directory cannot be written.
    """
    builder = builder_for(source.language)
    key = build_key(source, tune, builder.version(), builder.target(device))
    home = cache_dir / "builds" / key[:2] / key
    found = _read(home, key)
    if found is not None:
        return found
    result = await builder.build(source, tune, device, cache_dir)
    if result == KILLED:
        result = await builder.build(source, tune, device, cache_dir)
        if result == KILLED:
            return BuildFailed(
                "the compiler was killed twice (signal 9) on this source; most often memory ran out", ""
            )
    if isinstance(result, Compiled | BuildFailed):
        _write(home, result)
    if not isinstance(result, Compiled):
        return result
    return CachedBuild(key, home / "module.bin", result.intermediate, result.log, cached=False)


def _read(home: Path, key: str) -> CachedBuild | BuildFailed | None:
    try:
        record = json.loads((home / "build.json").read_text())
        if not record["ok"]:
            return BuildFailed(record["reason"], record["log"])
        intermediate = (home / "intermediate.bin").read_bytes()
        module = (home / "module.bin").read_bytes()
        if [_digest(intermediate), _digest(module)] != record["digests"]:
            raise ValueError("torn entry")
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(home, ignore_errors=True)  # absent, torn by a crash, or damaged: build it again
        return None
    return CachedBuild(key, home / "module.bin", intermediate, record["log"], cached=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(home: Path, result: Compiled | BuildFailed) -> None:
    """Publish an entry by renaming a finished directory, so that readers never see half of one."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        sweep(home.parent, PARTIAL)
        partial = Path(tempfile.mkdtemp(dir=home.parent, prefix=PARTIAL))
        try:
            if isinstance(result, Compiled):
                (partial / "module.bin").write_bytes(result.module)
                (partial / "intermediate.bin").write_bytes(result.intermediate)
                digests = [_digest(result.intermediate), _digest(result.module)]
                record: dict[str, object] = {"ok": True, "log": result.log, "digests": digests}
            else:
                record = {"ok": False, "reason": result.reason, "log": result.log}
            (partial / "build.json").write_text(json.dumps(record))
            partial.chmod(0o755)
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                _publish(partial, home)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InfraError(
            f"The build cache {home.parent} cannot be written: {error.strerror}.",
            "free space there, or point KFORGE_CACHE at another directory",
        ) from error


def _publish(partial: Path, home: Path) -> None:
    try:
        os.rename(partial, home)
    except OSError:
        if not home.exists():  # another process published the same build first: that one serves
            raise
