"""Every run is looked at: secretly chosen rows of its outputs against eager on the same values.

The truth with its precision model is too dear for every sample; eager on a few rows is not. A kernel
that answers from memory, skips work or was right only while it was checked shows here, in whichever run it
does it. The bound is coarse, for eager has an error of its own: what is slightly wrong is found by the full
verification.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from kforge.data.tasks.loader import Value
from kforge.eval.check import MAX_FACTOR, Mismatch, Truth, groups_of
from kforge.eval.pieces import Piece, Run, separable
from kforge.eval.ties import watched

# Of the batch, at least one sample; a stretch of them, because slices of the batch cost no copy.
PROBED_SHARE = 64
# Eager errs too, and the allowance was learnt from other values of the same distribution.
SLACK = 3.0
WRONG_INTEGERS = 0.01


class Probe:
    """Compares secret rows; learns what an error may be from every truth that was computed.

    Where the reference does not treat the samples of a batch alone, the whole outputs are compared.

    Args:
        run: the reference in its own precision, with the parameters of the draw under way.
        secret: chooses the rows.
    """

    def __init__(self, run: Run, secret: random.Random) -> None:
        self._run, self._secret = run, secret
        self._cut: tuple[bool, ...] | None = None
        self._known = False
        self._allowed: list[float] = []

    def learn(self, inputs: Sequence[Value], eager: Sequence[Tensor], truth: Sequence[Truth]) -> None:
        """Take in how far an output may be from the truth, relative to its size.

        Args:
            inputs: of a draw from the task's own distribution.
            eager: the reference's outputs on all of them.
            truth: of these values, or of a piece of them.
        """
        if not self._known:
            self._cut, self._known = separable(inputs, eager, self._run), True
        shares = [_allowed_share(t) for t in truth]
        self._allowed = [max(pair) for pair in zip(shares, self._allowed or shares, strict=True)]

    def look(self, outputs: Sequence[Tensor], inputs: Sequence[Value]) -> Mismatch | None:
        """The first output with a wrong row; None where nothing is amiss, or nothing was learnt yet.

        Args:
            outputs: of one run; views of the candidate's memory will do, they are only read.
            inputs: what it was given.
        """
        if not self._allowed:
            return None
        piece = self._piece(outputs)
        given = inputs if piece is None else piece.inputs(inputs)
        expected, pointed = watched(lambda: self._run(given))
        for position, (output, want) in enumerate(zip(outputs, expected, strict=True)):
            found = output if piece is None else piece.output(output)
            into = pointed[position]
            if into is not None and not into.wrong(found, want):
                continue
            reason = _differs(found, want, self._allowed[position])
            if reason is not None:
                rows = "" if piece is None else f" in rows {piece.start} to {piece.stop - 1}"
                return Mismatch("mismatch", f"output {position}{rows}: {reason}", None)
        return None

    def _piece(self, outputs: Sequence[Tensor]) -> Piece | None:
        if self._cut is None:
            return None
        batch = outputs[0].shape[0]
        count = max(1, batch // PROBED_SHARE)
        start = self._secret.randrange(batch - count + 1)
        return Piece(start, start + count, self._cut)


def _allowed_share(truth: Truth) -> float:
    exact = truth.exact
    if not exact.is_floating_point() or exact.numel() == 0:
        return 0.0
    size = float(exact.nan_to_num(0.0, 0.0, 0.0).square().mean().sqrt())
    return MAX_FACTOR * float(truth.spread_max.max()) / size if size > 0 else 0.0


def _differs(found: Tensor, want: Tensor, allowed: float) -> str | None:
    if not want.is_floating_point():
        share = float((found != want).double().mean()) if want.numel() else 0.0
        return f"{share:.2%} of its values differ from eager's" if share > WRONG_INTEGERS else None
    expected = want.float() if want.dtype != torch.float64 else want
    error = (found.to(expected.dtype) - expected).abs()
    finite = torch.isfinite(expected)
    if bool((~torch.isfinite(found) & finite).any()):
        return "NaN or infinity where eager is finite"
    # One row of small values must not be judged by itself alone, nor by a much larger neighbour's size.
    size = groups_of(expected.nan_to_num(0.0, 0.0, 0.0)).square().mean(1, keepdim=True).sqrt()
    size = torch.maximum(size, size.square().mean().sqrt()).expand_as(groups_of(expected))
    unit = torch.finfo(found.dtype).eps
    bound = SLACK * allowed * size + 4 * unit * groups_of(expected).abs()
    over = groups_of(error.masked_fill(~finite, 0.0)) > bound
    if not bool(over.any()):
        return None
    return (
        f"{float(over.double().mean()):.2%} of {error.numel()} values are far from eager's on the same inputs"
    )
