"""Shape rules of the library operators that ``k.op`` offers. Outputs of all of them are contiguous.

Each rule is a function with the operator's own signature (torch's names and order) that returns the
shape of the result. The recorder calls it when the plan runs, and the validator calls it again on the
finished plan, so that a forged plan cannot lie about an operator's output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kforge.eval.planning.shapes import FLOATING, PlanError, ShapeTensor, integer, integers, show

Shape = tuple[int, ...]


def output_of(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[str, tuple[int, ...]]:
    """Element type and shape of ``name(*args, **kwargs)``.

    Raises:
        PlanError: no such operator, or torch would refuse these arguments.
    """
    rule = COMPUTING.get(name)
    if rule is None:
        raise PlanError(f"k.op has no operator {show(name)}; it offers {', '.join((*COMPUTING, *VIEWS))}")
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, ShapeTensor)]
    dtype = _common_dtype(name, tensors)
    try:
        shape = rule(*args, **kwargs)
    except TypeError as error:
        raise PlanError(f"k.op({name!r}): {str(error)[:200].replace(rule.__name__, name)}") from None
    return dtype, shape


def _common_dtype(name: str, tensors: Sequence[ShapeTensor]) -> str:
    if not tensors:
        raise PlanError(f"k.op({name!r}) needs at least one tensor")
    # An attention mask may be bool: it is the one operand that is not arithmetic.
    kinds = {t.dtype for t in tensors if not (name == "scaled_dot_product_attention" and t.dtype == "bool")}
    if len(kinds) != 1 or not kinds <= FLOATING:
        found = ", ".join(sorted(kinds))
        raise PlanError(f"k.op({name!r}) needs tensors of one floating type, not {found}")
    return tensors[0].dtype


def _tensor(value: object, what: str, *ndims: int) -> ShapeTensor:
    if not isinstance(value, ShapeTensor):
        raise PlanError(f"{what} must be a tensor, not {show(value)}")
    if ndims and value.ndim not in ndims:
        wanted = " or ".join(str(n) for n in ndims)
        raise PlanError(f"{what} must have {wanted} dimensions, not {value.ndim} (shape {value.shape})")
    return value


def _per_dim(value: object, what: str, spatial: int, low: int) -> Shape:
    entries = integers(value, what, low)
    if len(entries) == 1:
        return entries * spatial
    if len(entries) != spatial:
        raise PlanError(f"{what} has {len(entries)} entries for {spatial} spatial dimensions")
    return entries


def _bias(bias: object, channels: int, what: str) -> None:
    if bias is not None and _tensor(bias, f"{what} bias").shape != (channels,):
        raise PlanError(f"{what} bias has shape {_tensor(bias, what).shape}, not ({channels},)")


def _number(value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PlanError(f"{what} must be a number, not {show(value)}")


def _flag(value: object, what: str) -> None:
    if not isinstance(value, bool):
        raise PlanError(f"{what} must be True or False, not {show(value)}")


# ---------------------------------------------------------------------------------------- convolutions


def _convolution(spatial: int) -> Callable[..., Shape]:
    name = f"conv{spatial}d"

    def rule(  # noqa: PLR0917 - torch's signature
        input: object, weight: object, bias: object = None, stride: object = 1, padding: object = 0,
        dilation: object = 1, groups: object = 1,
    ) -> Shape:  # fmt: skip
        x = _tensor(input, f"{name} input", spatial + 1, spatial + 2)
        w = _tensor(weight, f"{name} weight", spatial + 2)
        count = integer(groups, f"{name} groups", 1)
        steps = _per_dim(stride, f"{name} stride", spatial, 1)
        spread = _per_dim(dilation, f"{name} dilation", spatial, 1)
        channels, extents = x.shape[-spatial - 1], x.shape[-spatial:]
        if channels != w.shape[1] * count or w.shape[0] % count:
            raise PlanError(f"{name}: weight {w.shape} with groups={count} does not fit input {x.shape}")
        if 0 in w.shape or 0 in (channels, *extents):
            raise PlanError(f"{name}: an extent is zero in input {x.shape} or weight {w.shape}")
        _bias(bias, w.shape[0], name)
        if padding == "same":
            if any(step != 1 for step in steps):
                raise PlanError(f"{name}: padding 'same' needs stride 1")
            out = extents
        else:
            pads = _per_dim(0 if padding == "valid" else padding, f"{name} padding", spatial, 0)
            out = tuple(
                (n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, p, d, k, s in zip(extents, pads, spread, w.shape[2:], steps, strict=True)
            )
        if any(extent < 1 for extent in out):
            raise PlanError(f"{name}: the kernel {w.shape[2:]} is larger than the padded input {extents}")
        return (*x.shape[: -spatial - 1], w.shape[0], *out)

    rule.__name__ = name
    return rule


def _transposed_convolution(spatial: int) -> Callable[..., Shape]:
    name = f"conv_transpose{spatial}d"

    def rule(  # noqa: PLR0917 - torch's signature
        input: object, weight: object, bias: object = None, stride: object = 1, padding: object = 0,
        output_padding: object = 0, groups: object = 1, dilation: object = 1,
    ) -> Shape:  # fmt: skip
        x = _tensor(input, f"{name} input", spatial + 1, spatial + 2)
        w = _tensor(weight, f"{name} weight", spatial + 2)
        count = integer(groups, f"{name} groups", 1)
        steps = _per_dim(stride, f"{name} stride", spatial, 1)
        spread = _per_dim(dilation, f"{name} dilation", spatial, 1)
        pads = _per_dim(padding, f"{name} padding", spatial, 0)
        extra = _per_dim(output_padding, f"{name} output_padding", spatial, 0)
        channels, extents = x.shape[-spatial - 1], x.shape[-spatial:]
        if channels != w.shape[0] or channels % count:
            raise PlanError(f"{name}: weight {w.shape} with groups={count} does not fit input {x.shape}")
        if 0 in w.shape or 0 in (channels, *extents):
            raise PlanError(f"{name}: an extent is zero in input {x.shape} or weight {w.shape}")
        if any(e >= max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
            raise PlanError(f"{name}: output_padding must be smaller than stride or dilation")
        _bias(bias, w.shape[1] * count, name)
        out = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + e + 1
            for n, s, p, d, k, e in zip(extents, steps, pads, spread, w.shape[2:], extra, strict=True)
        )
        if any(extent < 1 for extent in out):
            raise PlanError(f"{name}: the output would have the extents {out}")
        return (*x.shape[: -spatial - 1], w.shape[1] * count, *out)

    rule.__name__ = name
    return rule


# ------------------------------------------------------------------------------------ matrix products


def _broadcast(left: Shape, right: Shape, what: str) -> Shape:
    longest = max(len(left), len(right))
    padded = ((1,) * (longest - len(left)) + left, (1,) * (longest - len(right)) + right)
    out = []
    for a, b in zip(*padded, strict=True):
        if a != b and 1 not in (a, b):
            raise PlanError(f"{what}: shapes {left} and {right} do not broadcast")
        out.append(b if a == 1 else a)
    return tuple(out)


def _linear(input: object, weight: object, bias: object = None) -> Shape:
    x, w = _tensor(input, "linear input"), _tensor(weight, "linear weight", 2)
    if not x.shape or x.shape[-1] != w.shape[1]:
        raise PlanError(f"linear: input {x.shape} does not fit weight {w.shape} (out, in)")
    _bias(bias, w.shape[0], "linear")
    return (*x.shape[:-1], w.shape[0])


def _matmul(input: object, other: object) -> Shape:
    a, b = _tensor(input, "matmul input"), _tensor(other, "matmul other")
    if not a.shape or not b.shape:
        raise PlanError("matmul needs tensors of at least one dimension")
    left = a.shape if a.ndim > 1 else (1, *a.shape)
    right = b.shape if b.ndim > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise PlanError(f"matmul: {a.shape} and {b.shape} differ in the contracted extent")
    batch = _broadcast(left[:-2], right[:-2], "matmul")
    rows = () if a.ndim == 1 else (left[-2],)
    columns = () if b.ndim == 1 else (right[-1],)
    return (*batch, *rows, *columns)


def _mm(input: object, mat2: object) -> Shape:
    return _matmul(_tensor(input, "mm input", 2), _tensor(mat2, "mm mat2", 2))


def _bmm(input: object, mat2: object) -> Shape:
    a, b = _tensor(input, "bmm input", 3), _tensor(mat2, "bmm mat2", 3)
    if a.shape[0] != b.shape[0]:
        raise PlanError(f"bmm: batches {a.shape[0]} and {b.shape[0]} differ")
    return _matmul(a, b)


def _mv(input: object, vec: object) -> Shape:
    return _matmul(_tensor(input, "mv input", 2), _tensor(vec, "mv vec", 1))


def _addmm(input: object, mat1: object, mat2: object, *, beta: object = 1, alpha: object = 1) -> Shape:
    _number(beta, "addmm beta")
    _number(alpha, "addmm alpha")
    out = _mm(mat1, mat2)
    added = _tensor(input, "addmm input", 0, 1, 2)
    if _broadcast(added.shape, out, "addmm") != out:
        raise PlanError(f"addmm: input {added.shape} does not expand to {out}")
    return out


def _baddbmm(input: object, batch1: object, batch2: object, *, beta: object = 1, alpha: object = 1) -> Shape:
    _number(beta, "baddbmm beta")
    _number(alpha, "baddbmm alpha")
    out = _bmm(batch1, batch2)
    added = _tensor(input, "baddbmm input")
    if added.ndim > 3 or _broadcast(added.shape, out, "baddbmm") != out:
        raise PlanError(f"baddbmm: input {added.shape} does not expand to {out}")
    return out


def _attention(  # noqa: PLR0917 - torch's signature
    query: object, key: object, value: object, attn_mask: object = None, dropout_p: object = 0.0,
    is_causal: object = False, scale: object = None,
) -> Shape:  # fmt: skip
    what = "scaled_dot_product_attention"
    q = _tensor(query, f"{what} query", 3, 4)
    k = _tensor(key, f"{what} key", q.ndim)
    v = _tensor(value, f"{what} value", q.ndim)
    _flag(is_causal, f"{what} is_causal")
    if scale is not None:
        _number(scale, f"{what} scale")
    if dropout_p not in (0, 0.0) or isinstance(dropout_p, bool):
        raise PlanError(f"{what}: dropout_p must be 0.0")
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2] or q.shape[-1] != k.shape[-1]:
        raise PlanError(f"{what}: query {q.shape}, key {k.shape} and value {v.shape} do not fit")
    if k.shape[-2] != v.shape[-2]:
        raise PlanError(f"{what}: key and value have {k.shape[-2]} and {v.shape[-2]} rows")
    scores = (*q.shape[:-1], k.shape[-2])
    if attn_mask is not None:
        mask = _tensor(attn_mask, f"{what} attn_mask")
        if is_causal or mask.ndim < 2 or _broadcast(mask.shape, scores, what) != scores:
            raise PlanError(
                f"{what}: attn_mask {mask.shape} does not expand to {scores}, or is_causal is set"
            )
    return (*q.shape[:-1], v.shape[-1])


COMPUTING: Mapping[str, Callable[..., Shape]] = {
    "conv1d": _convolution(1),
    "conv2d": _convolution(2),
    "conv3d": _convolution(3),
    "conv_transpose1d": _transposed_convolution(1),
    "conv_transpose2d": _transposed_convolution(2),
    "conv_transpose3d": _transposed_convolution(3),
    "linear": _linear,
    "matmul": _matmul,
    "mm": _mm,
    "bmm": _bmm,
    "mv": _mv,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "scaled_dot_product_attention": _attention,
}
VIEWS = ("reshape", "view", "transpose", "permute", "flatten", "unsqueeze", "squeeze", "expand")
