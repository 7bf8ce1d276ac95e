"""The allowance on whole tasks: ``python -m benchmarks.allowance_tasks [SEEDS] [TASK ...]``.

For every embedded task at size small and every precision, over the distributions of its check: the largest
``max_error`` (1 is the limit) of honest variants, of them the declared one, and the least ``max_error`` that
a downgrade reaches on its worst distribution (a candidate must pass all, so the worst one rejects it).

Honest variants are the reference under another order of sums and at the declared precision:

- eager;
- matrix products in slices of 16 of the depth, added in order, as a loop over tiles adds them;
- both with operands rounded where tf32, fp16 or bf16 is declared.

Downgrades round contraction operands, and for tasks without contraction the inputs.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import list_tasks, resolve
from kforge.eval.check import judge
from kforge.eval.inputs import trials
from kforge.eval.precision_model import _CONTRACTIONS, UNIT_ROUNDOFF, round_to
from kforge.eval.workbench import Draw, Workbench
from kforge.types import Precision

_aten = torch.ops.aten
DOWNGRADES: dict[Precision, tuple[Precision, ...]] = {
    "ieee": ("tf32", "fp16", "bf16"), "tf32": ("bf16",), "fp16": ("bf16",), "bf16": (),
}  # fmt: skip


def rounded(value: Tensor, precision: Precision) -> Tensor:
    """Operands as ``precision`` holds them; fp16 has a range too."""
    if precision == "ieee" or not value.is_floating_point():
        return value
    if precision == "fp16":
        return value.half().to(value.dtype)
    return round_to(value.double(), UNIT_ROUNDOFF[precision]).to(value.dtype)


class Contractions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs contractions on rounded operands, matrix products in slices of the depth added in order."""

    def __init__(self, precision: Precision, slice_length: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._precision, self._slice = precision, slice_length
        self.seen = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operator."""
        if func not in _CONTRACTIONS:
            return func(*args, **(kwargs or {}))
        self.seen += 1
        changed = list(args)
        for position in _CONTRACTIONS[func]:
            changed[position] = rounded(args[position], self._precision)
        if self._slice is None or func not in (_aten.mm.default, _aten.bmm.default):
            return func(*changed, **(kwargs or {}))
        a, b = changed[0], changed[1]
        out: Tensor | None = None
        for at in range(0, a.shape[-1], self._slice):
            part = func(a[..., at : at + self._slice], b[..., at : at + self._slice, :])
            out = part if out is None else out + part
        return out


def computed(
    bench: Workbench, draw: Draw, precision: Precision, slice_length: int | None, *, downgrade: bool
) -> list[Tensor]:
    """The reference on a draw with its contractions changed; a downgrade without any rounds its inputs."""
    with Contractions(precision, slice_length) as mode:
        outputs = bench.eager(draw)
    if mode.seen or not downgrade:
        return list(outputs)
    changed = tuple(rounded(v, precision) if isinstance(v, Tensor) else v for v in draw.inputs)
    return list(bench.eager(Draw(changed, draw.state, draw.distribution)))


def error(outputs: list[Tensor], truth: Any) -> float:  # noqa: ANN401
    """Worst ``max_error``; infinity where masks or integers differ."""
    found = [judge(o, t, "o").max_error for o, t in zip(outputs, truth, strict=True)]
    return max(float("inf") if e is None else e for e in found)


def row(bench: Workbench, precision: Precision, seeds: int) -> tuple[float, int, dict[str, float], int]:
    """(honest worst, honest rejected, downgrade to its worst error, trials refused)."""
    worst, rejected, refused = 0.0, 0, 0
    cheaper: dict[str, float] = dict.fromkeys(DOWNGRADES[precision], 0.0)
    honest: list[Callable[[Draw], list[Tensor]]] = [
        lambda draw: computed(bench, draw, precision, None, downgrade=False),
        lambda draw: computed(bench, draw, precision, 16, downgrade=False),
    ]
    for _ in range(seeds):
        for distribution in trials(precision):
            draw = bench.draw(distribution)
            truth = bench.truth(draw, precision)
            if truth is None:
                refused += 1
                continue
            for run in honest:
                share = error(run(draw), truth)
                worst, rejected = max(worst, share), rejected + (share > 1)
            for name in DOWNGRADES[precision]:
                cheaper[name] = max(
                    cheaper[name], error(computed(bench, draw, name, None, downgrade=True), truth)
                )
    return worst, rejected, cheaper, refused


def main() -> None:
    """Print the table, a row at a time."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    wanted = sys.argv[2:] or [t.id for t in list_tasks() if t.id.startswith("kb/")]
    secret = random.Random(20260101)
    print(f"torch {torch.__version__}, {seeds} seeds; downgrades: worst distribution of all")
    print("| task | precision | honest, worst | rejected | refused trials | decided | tf32 | fp16 | bf16 |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for precision in DOWNGRADES:
        for name in wanted:
            loaded = load_task(resolve(name), "small")
            spec = describe(loaded).workloads[0]
            bench = Workbench(loaded.workloads[0], spec, lambda: secret.getrandbits(62))
            started = time.monotonic()
            worst, rejected, cheaper, refused = row(bench, precision, seeds)
            cells = [f"{cheaper[p]:.2g}" if p in cheaper else "" for p in ("tf32", "fp16", "bf16")]
            decided = {True: "yes", False: "no", None: ""}[bench.precision_decided(precision)]
            counts = f"{worst:.2g} | {rejected} | {refused} | {decided}"
            print(f"| {name} | {precision} | {counts} | {' | '.join(cells)} |", flush=True)
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
