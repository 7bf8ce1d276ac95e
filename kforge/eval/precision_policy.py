"""Precision policies: how torch itself computes while a baseline or a library operator runs.

Torch's default is mixed (convolutions may use TF32, matrix products not), so it is never left unsaid.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Literal

import torch

from kforge.types import Precision

Policy = Literal["ieee", "torch-default", "tf32", "fp16", "bf16"]


def policy_of(precision: Precision) -> Policy:
    """The policy under which a candidate of that precision is compared: its own."""
    return precision


def apply_policy(policy: Policy) -> None:
    """Set this process's switches. ``fp16`` and ``bf16`` also need ``autocast_of`` around the call."""
    with warnings.catch_warnings():
        # Newer torch prefers other names for these two, which its own compiler does not accept yet.
        warnings.simplefilter("ignore", UserWarning)
        torch.backends.cuda.matmul.allow_tf32 = policy in ("tf32", "fp16", "bf16")
        torch.backends.cudnn.allow_tf32 = policy != "ieee"


def autocast_of(policy: Policy) -> contextlib.AbstractContextManager[object]:
    """Around a reference's forward call: autocast for the half precisions, nothing for the others."""
    match policy:
        case "fp16":
            return torch.autocast("cuda", torch.float16)
        case "bf16":
            return torch.autocast("cuda", torch.bfloat16)
        case _:
            return contextlib.nullcontext()
