"""What a check found about a candidate's numbers, beside right and wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numerics:
    """What the check found about numbers; ``docs/numbers.md`` says how.

    Attributes:
        precision_decided: whether some trial tells the declared precision from a cheaper one; None where
            none is cheaper.
        deterministic: whether the same values gave the same bits twice.
        kb_difference: where KernelBench's verdict differs from this passed one, and why.
    """

    precision_decided: bool | None
    deterministic: bool
    kb_difference: str | None = None
