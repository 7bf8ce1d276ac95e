"""What a candidate's process tells of itself, read as the hostile data that it is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kforge.eval.arena import Slot
from kforge.eval.contender import Damage
from kforge.eval.open.calls import span_bytes
from kforge.eval.open.store import Store, shaped
from kforge.types import TensorSpec

LARGEST_EXTENT = 1 << 40


def layers(told: bytes) -> dict[str, bool]:
    """Which layers are on; true, for no candidate code has run when this is read."""
    found = _document(told).get("sandbox", {})
    return {str(name): value is True for name, value in found.items()} if isinstance(found, dict) else {}


def missing(told: bytes) -> tuple[str, ...]:
    """Extension calls that nothing was built for, each as JSON; empty where none is told."""
    found = _document(told).get("missing", [])
    return tuple(m for m in found if isinstance(m, str)) if isinstance(found, list) else ()


def layout_damage(told: bytes, outputs: Sequence[TensorSpec], *, exact: bool) -> Damage | None:
    """What is wrong with number, type, shape or strides of the outputs.

    Args:
        told: by the candidate's process.
        outputs: as the reference makes them.
        exact: type, shape and strides must be the reference's; else only the number.
    """
    layouts = _layouts(told)
    if layouts is None:
        return Damage("unwritten", "forward left no outputs that could be read")
    if len(layouts) != len(outputs):
        return Damage("mismatch", f"forward returned {len(layouts)} outputs; the reference {len(outputs)}")
    if not exact:
        return None
    for position, (layout, spec) in enumerate(zip(layouts, outputs, strict=True)):
        dtype, shape, strides = layout
        name = f"output {position}" if len(outputs) > 1 else "the output"
        for what, found, wanted in (
            ("type", dtype, f"torch.{spec.dtype}"),
            ("shape", tuple(shape), tuple(spec.shape)),
            ("strides", _telling(shape, strides), _telling(spec.shape, spec.strides)),
        ):
            if found != wanted:
                return Damage("mismatch", f"{name} has {what} {found}; the reference's has {wanted}")
    return None


def forgiven_outputs(
    told: bytes, store: Store, slots: Sequence[Slot], outputs: Sequence[TensorSpec]
) -> list[Tensor]:
    """With ``exact_layout`` off: what broadcasts, reshapes and converts to the reference's layout."""
    found: list[Tensor] = []
    for slot, spec, layout in zip(slots, outputs, _layouts(told) or [], strict=True):
        wanted: torch.dtype = getattr(torch, spec.dtype)
        given = getattr(torch, layout[0].removeprefix("torch."), None)
        dtype = given if isinstance(given, torch.dtype) else torch.float32
        size = span_bytes(layout[1], layout[2], dtype.itemsize)
        nothing = torch.zeros(spec.shape, dtype=wanted, device=store.bytes(slot).device)
        if not 0 < size <= slot.size:
            found.append(nothing)
            continue
        value = shaped(store, Slot(slot.offset, size), dtype, layout[1], layout[2]).to(wanted)
        try:
            found.append(value.broadcast_to(spec.shape))
        except RuntimeError:
            same = value.numel() == math.prod(spec.shape)
            found.append(value.reshape(spec.shape) if same else nothing)
    return found


def _document(told: bytes) -> dict[str, Any]:
    try:
        document = json.loads(told.partition(b"\0")[0] or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _layouts(told: bytes) -> list[Any] | None:
    found = _document(told).get("outputs")
    if not isinstance(found, list):
        return None
    for layout in found:
        match layout:
            case [str(), [*shape], [*strides]] if len(shape) == len(strides) and all(
                type(n) is int and 0 <= n < LARGEST_EXTENT for n in (*shape, *strides)
            ):
                continue
            case _:
                return None
    return found


def _telling(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Strides that mean something: those of dimensions with fewer than two elements do not."""
    return tuple(s if n > 1 else 0 for n, s in zip(shape, strides, strict=True))
