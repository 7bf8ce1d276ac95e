"""Tasks that deserve to be tasks, and tasks that do not; small ones."""

from __future__ import annotations

from pathlib import Path

from kforge.data.tasks.loader import LoadedTask, load_task
from kforge.data.tasks.registry import resolve

HEAD = """
import os, time
import torch
from torch import nn
from torch.nn import functional as F

"""


def source(forward: str, inputs: str, init: str = "", constants: str = "rows = 32\ncolumns = 48\n") -> str:
    """A task file from the bodies of its parts."""
    made = f"        {init}\n" if init else ""
    arguments, _, result = forward.partition(": ")
    return (
        f"{HEAD}{constants}\nclass Model(nn.Module):\n"
        f"    def __init__(self):\n        super().__init__()\n{made}"
        f"    def forward(self, {arguments}):\n        return {result}\n"
        f"\ndef get_inputs():\n    return [{inputs}]\n\ndef get_init_inputs():\n    return []\n"
    )


X = "torch.rand(rows, columns)"
MATMUL = source("x, y: x @ y", f"{X}, torch.rand(columns, rows)")
# The mean of what was just normalised is zero up to rounding.
MEAN_OF_NORMALISED = source("x: F.layer_norm(x, (columns,)).mean(1)", X)
# Every value is near 1/1024: nothing at a tolerance of 1e-2, and ten times one of 1e-4.
SMALL_SOFTMAX = source("x: torch.softmax(x, 1)", X, constants="rows = 8\ncolumns = 1024\n")
LOOP = source("x: x", X) + "\nwhile True:\n    time.sleep(0.1)\n"
CRASH = source("x: os.kill(os.getpid(), 11)", X)
HUGE = source("x: x", "torch.ones(1 << 33)")
EXIT = source("x: os._exit(7)", X)


def written(directory: Path, **sources: str) -> list[Path]:
    """Task files in a directory, one per name."""
    paths = []
    for name, text in sources.items():
        path = directory / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def loaded(directory: Path, text: str) -> LoadedTask:
    """A task, loaded at full size."""
    (path,) = written(directory, task=text)
    return load_task(resolve(str(path)), "full")
