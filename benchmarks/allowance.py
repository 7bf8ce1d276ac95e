"""How much of the allowance honest and cheaper arithmetic use: ``python -m benchmarks.allowance [SEEDS]``.

For every operator of ``tests/eval/test_precision.py``, distribution and seed, the share of the allowance
(``max_error``, 1 is the limit) of a slow honest fp32 algorithm and of operands rounded to fp16 and bf16.
Prints one row per operator: the range over distributions and seeds, and how often honest code was rejected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from kforge.eval.check import judge
from tests.eval.test_precision import CASES, DISTRIBUTIONS, Case, drawn, to_bfloat, to_half, truth_of


def shares(case: Case, output: Callable[[Tensor], Tensor], seeds: int) -> list[float]:
    """``max_error`` of ``output`` over all distributions and seeds."""
    found: list[float] = []
    for distribution in DISTRIBUTIONS:
        for seed in range(seeds):
            x = drawn(case, distribution, 1000 + seed)
            error = judge(output(x), truth_of(case, x), "the output").max_error
            found.append(float("inf") if error is None else error)
    return found


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"torch {torch.__version__}, {seeds} seeds x {len(DISTRIBUTIONS)} distributions")
    print("| operator | honest fp32 | rejected | fp16 operands | bf16 operands |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        if name == "log softmax":  # its stand-in algorithm is no fair one (log of a clamped softmax)
            continue
        honest = shares(case, case.honest, seeds)
        half = shares(case, lambda x, case=case: case.reference(to_half(x)), 1)  # type: ignore[misc]
        bfloat = shares(case, lambda x, case=case: case.reference(to_bfloat(x)), 1)  # type: ignore[misc]
        rejected = sum(share > 1 for share in honest)
        row = [f"{min(s):.2g} to {max(s):.2g}" for s in (honest, half, bfloat)]
        print(f"| {name} | {row[0]} | {rejected} of {len(honest)} | {row[1]} | {row[2]} |")


if __name__ == "__main__":
    main()
