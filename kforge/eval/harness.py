"""The harness version: a hash of everything whose change makes old outcomes incomparable."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

_SUFFIXES = (".py", ".cpp", ".cu", ".h")
_HEADERS = "nvrtc_headers"


def harness_version() -> str:
    """Hash of the evaluator's own source and of the torch version that references run with."""
    digest = hashlib.sha256()
    home = Path(__file__).parent
    files = [p for p in home.rglob("*") if p.suffix in _SUFFIXES or p.parent.name == _HEADERS]
    for path in sorted(files):
        digest.update(str(path.relative_to(home)).encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(metadata.version("torch").encode())
    return digest.hexdigest()[:16]
