"""``kforge eval`` on a box that can install little: none of its processes imports a heavy dependency."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import ROOT
from tests.cli.test_evaluate import readme_candidate

HEAVY = (
    "alembic", "datasets", "mako", "numba", "openai", "optuna", "pandas", "polars", "psycopg", "pyarrow",
    "ray", "ribs", "scipy", "sklearn", "sqlalchemy",
)  # fmt: skip
# Python imports this module at its start in every process that shares the environment, isolated or not.
BLOCKER = f"""
from importlib.machinery import PathFinder

_find = PathFinder.find_spec


def _find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {HEAVY!r} else _find(name, path, target)


PathFinder.find_spec = _find_spec
"""


def environment_without_heavy_packages(place: Path) -> Path:
    """A virtual environment that sees this one's packages, less the heavy ones; its Python."""
    made = place / "box"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True, timeout=120)
    site = next(made.glob("lib/python3*/site-packages"))
    packages = Path(pytest.__file__).parent.parent
    (site / "packages-of-this-machine.pth").write_text(f"import heavy_blocker\n{packages}\n{ROOT}\n")
    (site / "heavy_blocker.py").write_text(BLOCKER)
    return made / "bin" / "python"


@pytest.mark.slow
@pytest.mark.sycl
def test_eval_needs_no_heavy_package(tmp_path: Path) -> None:
    python = environment_without_heavy_packages(tmp_path)
    blocked = subprocess.run(
        [python, "-c", "import sqlalchemy"], capture_output=True, text=True, timeout=60, check=False
    )
    assert "No module named 'sqlalchemy'" in blocked.stderr
    (tmp_path / "relu.py").write_text(readme_candidate())
    home = tmp_path / "home"
    environment = {**os.environ, "KFORGE_HOME": str(home), "KFORGE_CACHE": str(home / "cache")}
    done = subprocess.run(
        [python, "-P", "-m", "kforge", "eval", "relu.py", "--task", "kb/L1/19", "--size", "small"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    shutil.rmtree(home, ignore_errors=True)
    assert done.returncode in (0, 1), done.stderr  # the machine of a test may be too busy for a figure
    assert done.stdout.startswith(("passed", "unstable")), done.stdout + done.stderr
