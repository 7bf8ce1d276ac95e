"""An export proves itself in a plain process: no kforge, the folder's own checks, both clocks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kforge.errors import InfraError
from kforge.eval.sandbox import PACKAGE_ROOT

LIMIT_S = 900.0
# kforge may be installed beside torch: then its name is blocked, so that the process is as one without it.
_PROGRAM = """
import importlib, json, sys
folder, package, places = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path[:0] = [folder, *places]

class NoKforge:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "kforge":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoKforge)
try:
    import kforge
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("kforge can be imported here")
import torch
checks = importlib.import_module(f"{package}.test_export").run_all()
times = []
if not any(text.startswith("failed") for text in checks.values()):
    times = importlib.import_module(f"{package}.timing").measure()
assert "kforge" not in sys.modules
print(json.dumps({"torch": torch.__version__, "checks": checks, "times": times}))
"""


@dataclass(frozen=True, slots=True)
class Verification:
    """What the plain process saw.

    Attributes:
        checks: name to ``passed``, ``skipped: why`` or ``failed: why``.
        times: per workload, the summaries of ``timing.measure``.
        torch: its version there.
    """

    checks: Mapping[str, str]
    times: tuple[Mapping[str, Any], ...]
    torch: str

    @property
    def passed(self) -> bool:
        """Whether the kernels ran and nothing failed."""
        agreed = self.checks.get("test_it_agrees_with_the_eager_model") == "passed"
        return agreed and not any(text.startswith("failed") for text in self.checks.values())


def verify(folder: Path) -> Verification:
    """Check and time an export.

    Raises:
        InfraError: the process did not end in time.
    """
    places = [place for place in sys.path if place and Path(place).resolve() != Path(PACKAGE_ROOT).resolve()]
    if Path(PACKAGE_ROOT).name in ("site-packages", "dist-packages"):
        places = [place for place in sys.path if place]
    command = [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM]
    command += [str(folder.parent), folder.name, json.dumps(places)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=folder.parent
        )
    except subprocess.TimeoutExpired as error:
        raise InfraError(
            f"Verifying {folder} took more than {LIMIT_S:g} s; the folder is written.",
            f"cd {folder.parent} && python {folder.name}/test_export.py",
        ) from error
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
        return Verification(found["checks"], tuple(found["times"]), found["torch"])
    except (ValueError, IndexError, KeyError):
        tail = (done.stderr.strip() or f"it ended with code {done.returncode}")[-1500:]
        return Verification({"the process": f"failed: {tail}"}, (), "unknown")
