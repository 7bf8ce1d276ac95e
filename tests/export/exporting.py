"""Exports of candidate files, made in this process as the command line makes them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.sandbox import PACKAGE_ROOT
from kforge.export.origin import origin_of_file
from kforge.export.package import Exported, export_candidate
from kforge.types import DeviceInfo, TaskDescription

CANDIDATES = Path(__file__).parents[1] / "gpu" / "candidates"
NOW = datetime(2030, 1, 2, tzinfo=UTC)

# A plain process: torch and the folders, no kforge.
_PREFIX = """
import importlib, json, sys, warnings
sys.path[:0] = json.loads(sys.argv[1])
try:
    import kforge
    raise SystemExit("kforge can be imported")
except ModuleNotFoundError:
    pass
import torch
warnings.simplefilter("always")
"""


@cache
def described(task: str, size: str) -> TaskDescription:
    return describe(load_task(resolve(task), size))


def export_text(
    text: str, folder: Path, *, task: str, size: str, device: DeviceInfo, cache_dir: Path
) -> Exported:
    """Export a candidate's text."""
    return export_candidate(
        origin_of_file(text, "candidate.py"), resolve(task), described(task, size),
        device=device, track="sealed", cache_dir=cache_dir, folder=folder, now=NOW,
    )  # fmt: skip


def in_plain_process(program: str, *folders: Path) -> Any:  # noqa: ANN401 - JSON
    """Run a program where only torch and these folders' parents can be imported; its last line is JSON."""
    places = [str(f.parent) for f in folders]
    places += [p for p in sys.path if p and Path(p).resolve() != Path(PACKAGE_ROOT).resolve()]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", _PREFIX + program, json.dumps(places)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def changed(folder: Path, name: str, replacements: Mapping[str, str]) -> None:
    """Edit a file of an export, as a careless user may."""
    text = (folder / name).read_text()
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)


def rehash(folder: Path) -> None:
    """Make an edited plan pass for the exported one."""
    record = json.loads((folder / "export.json").read_text())
    record["sha256"]["plan.json"] = hashlib.sha256((folder / "plan.json").read_bytes()).hexdigest()
    (folder / "export.json").write_text(json.dumps(record))
