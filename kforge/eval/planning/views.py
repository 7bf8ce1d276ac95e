"""Views that copy nothing: reshape, transpose and their like, as (offset, shape, strides) arithmetic.

A view is no step of the plan: it is one more tensor on the same storage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from kforge.eval.planning.shapes import MAX_NDIM, PlanError, ShapeTensor, integer, integers, show

Layout = tuple[tuple[int, ...], tuple[int, ...]]


def view_of(name: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[ShapeTensor, Layout]:
    """The viewed tensor and (shape, strides) of the view ``name(*args, **kwargs)``; offset is unchanged.

    Raises:
        PlanError: the arguments do not fit, or the view would need a copy.
    """
    if not args or not isinstance(args[0], ShapeTensor):
        raise PlanError(f"k.op({name!r}) needs a tensor first")
    rule = _RULES[name]
    try:
        layout = rule(*args, **kwargs)
    except TypeError as error:
        raise PlanError(f"k.op({name!r}): {str(error)[:200].replace(rule.__name__, name)}") from None
    if len(layout[0]) > MAX_NDIM:
        raise PlanError(f"k.op({name!r}) would give {len(layout[0])} dimensions; {MAX_NDIM} is the limit")
    return args[0], layout


def _sizes(sizes: tuple[object, ...], what: str) -> tuple[int, ...]:
    one = sizes[0] if len(sizes) == 1 else sizes
    return integers(one, what, low=-1)


def _axis(value: object, ndim: int, what: str) -> int:
    # torch treats a tensor without dimensions as having one here.
    count = max(ndim, 1)
    return integer(value, what, -count, count - 1) % count


def _reshape(input: ShapeTensor, *shape: object) -> Layout:
    sizes = list(_sizes(shape, "shape"))
    if sizes.count(-1) > 1:
        raise PlanError(f"shape {tuple(sizes)} has more than one -1")
    if -1 in sizes:
        known = math.prod(size for size in sizes if size != -1)
        if known == 0 or input.numel() % known:
            raise PlanError(f"shape {tuple(sizes)} does not fit {input.numel()} elements of {input.shape}")
        sizes[sizes.index(-1)] = input.numel() // known
    if math.prod(sizes) != input.numel():
        raise PlanError(f"shape {tuple(sizes)} does not fit {input.numel()} elements of {input.shape}")
    return tuple(sizes), _view_strides(input, sizes)


def _view_strides(input: ShapeTensor, sizes: list[int]) -> tuple[int, ...]:
    """Strides of ``sizes`` over the same elements; old dimensions that lie densely are split anew."""
    strides = [1] * len(sizes)
    if input.numel() == 0:
        step = 1
        for index in reversed(range(len(sizes))):
            strides[index] = step
            step *= max(sizes[index], 1)
        return tuple(strides)
    old = [(n, s) for n, s in zip(input.shape, input.strides, strict=True) if n != 1] or [(1, 1)]
    index = len(sizes) - 1
    base, count = old[-1][1], 1
    for position in reversed(range(len(old))):
        count *= old[position][0]
        last = position == 0
        if not last and old[position - 1][1] == count * base:
            continue
        filled = 1
        while index >= 0 and (filled < count or sizes[index] == 1):
            strides[index] = filled * base
            filled *= sizes[index]
            index -= 1
        if filled != count:
            raise PlanError(
                f"a view of shape {tuple(sizes)} on shape {input.shape} with strides {input.strides} would "
                f"copy; copy in a kernel instead"
            )
        if not last:
            base, count = old[position - 1][1], 1
    return tuple(strides)


def _transpose(input: ShapeTensor, dim0: object, dim1: object) -> Layout:
    order = list(range(max(input.ndim, 1)))
    a, b = _axis(dim0, input.ndim, "dim0"), _axis(dim1, input.ndim, "dim1")
    order[a], order[b] = order[b], order[a]
    return _permute(input, order[: input.ndim])


def _permute(input: ShapeTensor, *dims: object) -> Layout:
    entries = dims[0] if len(dims) == 1 and isinstance(dims[0], list | tuple) else dims
    order = [_axis(axis, input.ndim, "dims") for axis in entries]
    if sorted(order) != list(range(input.ndim)):
        raise PlanError(f"dims {tuple(order)} is not a permutation of {input.ndim} dimensions")
    return tuple(input.shape[a] for a in order), tuple(input.strides[a] for a in order)


def _flatten(input: ShapeTensor, start_dim: object = 0, end_dim: object = -1) -> Layout:
    if input.ndim == 0:
        return (1,), (1,)
    first, last = _axis(start_dim, input.ndim, "start_dim"), _axis(end_dim, input.ndim, "end_dim")
    if first > last:
        raise PlanError(f"start_dim {first} lies behind end_dim {last}")
    middle = math.prod(input.shape[first : last + 1])
    return _reshape(input, (*input.shape[:first], middle, *input.shape[last + 1 :]))


def _unsqueeze(input: ShapeTensor, dim: object) -> Layout:
    axis = _axis(dim, input.ndim + 1, "dim")
    step = input.shape[axis] * input.strides[axis] if axis < input.ndim else 1
    shape, strides = list(input.shape), list(input.strides)
    shape.insert(axis, 1)
    strides.insert(axis, step)
    return tuple(shape), tuple(strides)


def _squeeze(input: ShapeTensor, dim: object = None) -> Layout:
    axes = range(input.ndim) if dim is None else [_axis(d, input.ndim, "dim") for d in _dims(dim)]
    kept = [a for a in range(input.ndim) if a not in axes or input.shape[a] != 1]
    return tuple(input.shape[a] for a in kept), tuple(input.strides[a] for a in kept)


def _dims(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _expand(input: ShapeTensor, *sizes: object) -> Layout:
    shape = _sizes(sizes, "sizes")
    new = len(shape) - input.ndim
    if new < 0:
        raise PlanError(f"expand to {shape} has fewer dimensions than {input.shape}")
    out, strides = [], []
    for position, size in enumerate(shape):
        have = input.shape[position - new] if position >= new else 1
        step = input.strides[position - new] if position >= new else 0
        wanted = have if size == -1 and position >= new else size
        if wanted < 0 or (have not in (1, wanted)):
            raise PlanError(f"{show(input)} does not expand to {shape}")
        out.append(wanted)
        strides.append(step if have == wanted and position >= new else 0)
    return tuple(out), tuple(strides)


_RULES: Mapping[str, Callable[..., Layout]] = {
    "reshape": _reshape, "view": _reshape, "transpose": _transpose, "permute": _permute,
    "flatten": _flatten, "unsqueeze": _unsqueeze, "squeeze": _squeeze, "expand": _expand,
}  # fmt: skip
