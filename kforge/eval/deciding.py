"""Does a trial decide? Whether the declared precision can be told from a cheaper one on these values.

The mildest downgrade there is: inputs and parameters rounded to the cheaper type and everything after that
exact. Where even this breaks the bound eightfold, a kernel that computes in the cheaper type is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.eval.check import Mismatch, Truth, judge
from kforge.eval.precision_model import UNIT_ROUNDOFF, round_to
from kforge.types import Precision

# A trial that a downgrade fails by less may pass it on other values.
DECIDING = 8.0
# The least coarse of the cheaper types: whoever sees its rounding sees that of all of them.
CHEAPER: Mapping[Precision, Precision | None] = {"ieee": "tf32", "tf32": "bf16", "fp16": "bf16", "bf16": None}

RunExact = Callable[[Sequence[Value], Mapping[str, Tensor]], Sequence[Tensor]]


def decides(
    inputs: Sequence[Value],
    state: Mapping[str, Tensor],
    truth: Sequence[Truth],
    precision: Precision,
    run_exact: RunExact,
) -> bool:
    """Whether outputs from rounded values would be rejected by far.

    Args:
        inputs: of the trial.
        state: its parameters.
        truth: of these values.
        precision: the declared one.
        run_exact: the reference in fp64.
    """
    cheaper = CHEAPER[precision]
    if cheaper is None:
        return False
    roundoff = UNIT_ROUNDOFF[cheaper]
    rounded = [_rounded(v, roundoff) if isinstance(v, Tensor) else v for v in inputs]
    parameters = {name: _rounded(value, roundoff) for name, value in state.items()}
    outputs = run_exact(rounded, parameters)
    for output, expected in zip(outputs, truth, strict=True):
        if not expected.exact.is_floating_point():
            continue
        found = judge(output.to(expected.eager.dtype), expected, "the output")
        if isinstance(found, Mismatch) and (found.max_error is None or found.max_error >= DECIDING):
            return True
    return False


def _rounded(value: Tensor, roundoff: float) -> Tensor:
    if not value.is_floating_point():
        return value
    return round_to(value.double(), roundoff).to(torch.float64)
