"""What lies in this folder beside code: where it came from, the launch plans, the compiled device code.

Plans and device code are compared with the hashes that were written beside them: an edited plan would make
kernels write where no memory is.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PLAN = "plan.json"


class Damaged(RuntimeError):
    """A file of the export is missing or is not what was exported."""


@cache
def provenance() -> dict[str, Any]:
    """``export.json``: task, candidate, device, measured figures, and the hash of every file."""
    try:
        found: dict[str, Any] = json.loads((HERE / "export.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(f"{HERE / 'export.json'} cannot be read ({error}): export again") from error
    return found


@cache
def plans() -> dict[str, Any]:
    """``plan.json``: per workload what it accepts, and what is launched."""
    found: dict[str, Any] = json.loads(intact(PLAN))
    return found


def image() -> bytes:
    """The compiled device code."""
    return intact(provenance()["image"])


def intact(name: str) -> bytes:
    """A file's bytes.

    Raises:
        Damaged: it is missing, or its hash is another one.
    """
    try:
        data = (HERE / name).read_bytes()
    except OSError as error:
        raise Damaged(f"{HERE / name} cannot be read ({error.strerror}): export again") from error
    found, written = hashlib.sha256(data).hexdigest(), provenance()["sha256"][name]
    if found != written:
        raise Damaged(
            f"{HERE / name} was changed: its SHA-256 begins {found[:12]}, that of the exported file "
            f"{written[:12]}. Export again rather than edit it"
        )
    return data
