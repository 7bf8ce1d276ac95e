"""One open verifier for many candidates of a task that is small in everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kforge.clock import SystemClock, secret_seed
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval.defences import DEFENCES, Defence
from kforge.eval.open.source import parse_open
from kforge.eval.open.verifier import OpenMeasured, OpenVerifier
from kforge.eval.protocol import Protocol
from kforge.open_types import HostCpu, OpenDevice, OpenSource

TASK = """
import torch
from torch import nn

size = 64


class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.fc = nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.fc(x))


def get_inputs():
    return [torch.rand(size, size)]


def get_init_inputs():
    return [size]
"""
HOST = HostCpu("the host", 2)
# Times say nothing here, so few are taken.
QUICK = replace(
    Protocol(),
    load_limit_s=20.0,
    run_limit_s=3.0,
    bench_budget_s=0.1,
    min_samples=4,
    max_samples=6,
    warm_up_runs=1,
    warm_up_us=0.0,
    unstable_width=1e9,
)


def quick(*, without: Defence | None = None) -> Protocol:
    """The quick protocol, with at most one defence off."""
    return replace(QUICK, defences=DEFENCES - {without} if without else DEFENCES)


def model_new(forward: str, *, init: str = "", before: str = "") -> str:
    """A candidate for ``TASK``.

    Args:
        forward: statements of ``forward(self, x)``, one indentation.
        init: further statements of ``__init__``.
        before: module level.
    """

    def indented(text: str) -> str:
        return "\n".join("        " + line for line in text.strip().splitlines())

    return f"""
import os, sys, time
import torch
from torch import nn
{before}

class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.fc = nn.Linear(features, features)
{indented(init)}

    def forward(self, x):
{indented(forward)}
"""


class Scene:
    """A verifier of ``TASK``.

    Args:
        folder: an empty directory.
        protocol: limits and defences.
        device: where candidates run; by default the host.
    """

    def __init__(self, folder: Path, protocol: Protocol, device: OpenDevice = HOST) -> None:
        path = folder / "task.py"
        path.write_text(TASK)
        loaded = load_task(resolve(str(path), None), "full")
        self.verifier = OpenVerifier(
            loaded,
            describe(loaded),
            device,
            job={"task": str(path), "size": "full", "user_dir": None, "device_index": 0},
            clock=SystemClock(),
            seeds=secret_seed,
            protocol=protocol,
        )

    def measure(self, text: str, *, require_sandbox: bool = False) -> OpenMeasured:
        """How a candidate ends."""
        source = parse_open(text)
        assert isinstance(source, OpenSource), source
        return self.verifier.measure(source, {}, lambda stage: None, require_sandbox=require_sandbox)
