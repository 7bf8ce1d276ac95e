"""Built extensions on disk, by content: ``extensions/<first two>/<hash>/``, shared object and record."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kforge.errors import InfraError
from kforge.eval.open.extension_build import Headers
from kforge.eval.open.extension_calls import ExtensionCall
from kforge.types import BuildFailed

_RECORD = "build.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """A shared object in the cache."""

    path: Path
    headers: Headers
    build_s: float
    log: str


def build_key(call: ExtensionCall, arch: str | None, versions: str) -> str:
    """Content address: the call (sources, flags, functions, name), the architecture, every tool's version."""
    parts = {"call": call.digest, "arch": arch if call.uses_cuda else None, "versions": versions}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def home_of(cache_dir: Path, key: str) -> Path:
    """Directory of one build."""
    return cache_dir / "extensions" / key[:2] / key


def read(home: Path) -> Stored | BuildFailed | None:
    """What lies there; None when nothing does, or something torn, which is then removed."""
    try:
        record = json.loads((home / _RECORD).read_text())
        if not record["ok"]:
            return BuildFailed(record["reason"], record["log"])
        path = home / record["file"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise ValueError("the shared object is not what was built")
        return Stored(path, record["headers"], record["build_s"], record["log"])
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(home, ignore_errors=True)
        return None


def write(home: Path, result: Stored | BuildFailed) -> None:
    """Publish a build by renaming a finished directory; whoever is first wins.

    Raises:
        InfraError: the cache cannot be written.
    """
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=home.parent, prefix=".partial-"))
        try:
            _fill(partial, result)
            partial.chmod(0o755)
            try:
                os.rename(partial, home)
            except OSError:
                if not home.exists():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InfraError(
            f"The build cache {home.parent} cannot be written: {error.strerror}.",
            "free space there, or point KFORGE_CACHE at another directory",
        ) from error


def _fill(partial: Path, result: Stored | BuildFailed) -> None:
    if isinstance(result, BuildFailed):
        record: dict[str, object] = {"ok": False, "reason": result.reason, "log": result.log}
    else:
        data = result.path.read_bytes()
        (partial / result.path.name).write_bytes(data)
        (partial / result.path.name).chmod(0o444)
        record = {
            "ok": True, "file": result.path.name, "sha256": hashlib.sha256(data).hexdigest(),
            "headers": result.headers, "build_s": result.build_s, "log": result.log,
        }  # fmt: skip
    (partial / _RECORD).write_text(json.dumps(record))
