"""The command line as a person or a script has it: a process of its own, its streams and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-P", "-m", "kforge")

TASK = """
import torch
from torch import nn

size = 64


class Model(nn.Module):
    def forward(self, x):
        return x * 2.0


def get_inputs():
    return [torch.rand(size, size)]


def get_init_inputs():
    return []
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401
        """Stdout as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The JSON of a failed command, complete."""
        document = self.document
        assert list(document) == ["error"]
        assert sorted(document["error"]) == ["code", "message", "next"]
        assert all(document["error"].values())
        return dict(document["error"])


@dataclass(frozen=True, slots=True)
class Terminal:
    """Runs kforge in ``cwd`` with ``env``; no command may ever show a traceback."""

    cwd: Path
    env: Mapping[str, str]

    def __call__(self, *arguments: str | Path, unset: tuple[str, ...] = (), **changed: str) -> Done:
        """Run to the end. ``changed`` and ``unset`` are variables of the environment."""
        process = self.start(*arguments, unset=unset, **changed)
        out, err = process.communicate(timeout=200)
        done = Done(process.returncode, out, err)
        assert "Traceback" not in out + err, done
        return done

    def start(
        self, *arguments: str | Path, unset: tuple[str, ...] = (), **changed: str
    ) -> subprocess.Popen[str]:
        """Start and leave running."""
        env = {key: value for key, value in {**self.env, **changed}.items() if key not in unset}
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)], cwd=self.cwd, env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def shell(self, line: str) -> Done:
        """Run a bash line in which ``kforge`` is the command; for redirections and pipes."""
        quoted = " ".join(f"'{part}'" for part in COMMAND)
        done = subprocess.run(
            ["bash", "-c", f'kforge() {{ {quoted} "$@"; }}; {line}'],
            cwd=self.cwd, env=self.env, text=True, capture_output=True, timeout=100, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)


def environment(home: Path, cache: Path) -> dict[str, str]:
    """This process's environment with places of its own for kforge."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KFORGE_")}
    return {**kept, "KFORGE_HOME": str(home), "KFORGE_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
