"""Shape rules against torch's meta device: same shape where torch accepts, refusal where torch refuses."""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.eval.library_ops import LIBRARY_OPS
from kforge.eval.planning.ops import COMPUTING, output_of
from kforge.eval.planning.shapes import PlanError, ShapeTensor, Storage
from kforge.eval.planning.views import view_of

small = st.integers(1, 4)
extent = st.integers(1, 9)


def shape_only(value: object) -> object:
    if not isinstance(value, torch.Tensor):
        return value
    dtype = str(value.dtype).removeprefix("torch.")
    storage = Storage(0, "alloc", None, 2**40, 1)
    return ShapeTensor(0, storage, int(value.storage_offset()), dtype, tuple(value.shape), value.stride())


def ours(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    try:
        return output_of(name, [shape_only(a) for a in args], {k: shape_only(v) for k, v in kwargs.items()})[
            1
        ]
    except PlanError:
        return None


def torchs(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    try:
        with warnings.catch_warnings():
            # padding='same' with an even kernel warns on a real device.
            warnings.simplefilter("ignore")
            return tuple(LIBRARY_OPS[name](*args, **kwargs).shape)
    except (RuntimeError, ValueError, IndexError):
        return None


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def test_an_output_padding_as_large_as_the_stride_is_refused() -> None:
    assert ours("conv_transpose1d", [meta(1, 4), meta(1, 1, 3)], {"output_padding": 1}) is None


def test_runner_and_rules_offer_the_same_operators() -> None:
    assert set(LIBRARY_OPS) == set(COMPUTING)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 3), st.booleans())
def test_convolutions(data: st.DataObject, spatial: int, transposed: bool) -> None:
    draw = data.draw
    groups, per_in, per_out = draw(small), draw(small), draw(small)
    wrong = draw(st.sampled_from([0, 0, 0, 1]))
    kernel = draw(st.tuples(*[small] * spatial))
    x = meta(
        *draw(st.sampled_from([(), (2,)])), groups * per_in + wrong, *draw(st.tuples(*[extent] * spatial))
    )
    kwargs: dict[str, Any] = {
        "stride": draw(small | st.tuples(*[small] * spatial)),
        "padding": draw(st.integers(0, 2) | st.tuples(*[st.integers(0, 2)] * spatial)),
        "dilation": draw(st.integers(1, 3)),
        "groups": groups,
    }
    if transposed:
        name = f"conv_transpose{spatial}d"
        weight = meta(groups * per_in, per_out, *kernel)
        kwargs["output_padding"] = draw(st.integers(0, 3))
        channels = groups * per_out
    else:
        name = f"conv{spatial}d"
        weight = meta(groups * per_out, per_in, *kernel)
        channels = groups * per_out
        kwargs["padding"] = draw(st.sampled_from([kwargs["padding"], "valid", "same"]))
    bias = draw(st.sampled_from([None, meta(channels)]))
    args = [x, weight, bias]
    got, want = ours(name, args, kwargs), torchs(name, args, kwargs)
    if got is None and want is not None:
        # The meta device lets wrong channels pass that a real device refuses.
        want = torchs(name, [None if a is None else torch.ones(a.shape) for a in args], kwargs)
    # Some convolutions let an empty result pass; k.op lets none.
    assert got == (None if want is not None and 0 in want else want)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(["matmul", "mm", "bmm", "mv", "linear", "addmm", "baddbmm"]))
def test_products(data: st.DataObject, name: str) -> None:
    few = st.integers(1, 3)
    rank = st.integers(1, 4) if name == "matmul" else st.integers(1, 3)
    count = {"addmm": 3, "baddbmm": 3, "linear": data.draw(st.integers(2, 3))}.get(name, 2)
    args = [meta(*(data.draw(few) for _ in range(data.draw(rank)))) for _ in range(count)]
    # F.linear takes a vector as weight, and biases that broadcast, for history's sake; k.op does not.
    narrower = name == "linear" and (
        args[1].dim() != 2 or any(bias.shape != args[1].shape[:1] for bias in args[2:])
    )
    got, want = ours(name, args, {}), None if narrower else torchs(name, args, {})
    if got is None and want is not None:
        # The meta device lets an addmm input pass that is wider than the result.
        want = torchs(name, [torch.ones(a.shape) for a in args], {})
    assert got == want


def test_an_addmm_input_wider_than_the_result_is_refused() -> None:
    assert ours("addmm", [meta(1, 2), meta(1, 1), meta(1, 1)], {}) is None


@settings(max_examples=100, deadline=None)
@given(st.tuples(small, small, small, small, small, small), st.booleans(), st.booleans())
def test_attention(sizes: tuple[int, ...], masked: bool, causal: bool) -> None:
    b, h, lq, lk, d, dv = sizes
    args = [meta(b, h, lq, d), meta(b, h, lk, d), meta(b, h, lk, dv)]
    kwargs: dict[str, Any] = {"attn_mask": meta(lq, lk)} if masked else {"is_causal": causal}
    name = "scaled_dot_product_attention"
    assert ours(name, args, kwargs) == torchs(name, args, kwargs)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_views(data: st.DataObject) -> None:
    draw = data.draw
    x = meta(*draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
    for _ in range(3):
        name, args = draw(_view(x))
        try:
            want = getattr(x.view(torch.float32), name)(*args) if name != "reshape" else x.view(*args)
        except (RuntimeError, IndexError, ValueError):
            want = None
        try:
            got = view_of(name, (shape_only(x), *args), {})[1]
        except PlanError:
            got = None
        if want is None or got is None:
            assert want is got, (name, args, x.shape, x.stride())
            return
        assert got[0] == tuple(want.shape)
        # Strides of dimensions of extent 1 mean nothing.
        meaningful = [i for i, n in enumerate(want.shape) if n > 1]
        assert [got[1][i] for i in meaningful] == [want.stride(i) for i in meaningful]
        x = want


@st.composite
def _view(draw: st.DrawFn, x: torch.Tensor) -> tuple[str, tuple[Any, ...]]:
    axis = st.integers(-x.dim() - 1, x.dim())
    name = draw(st.sampled_from(["reshape", "transpose", "permute", "unsqueeze", "squeeze", "expand"]))
    match name:
        case "reshape":
            total = x.numel()
            first = draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0]))
            rest = total // first
            return name, (
                draw(
                    st.sampled_from([(first, rest), (first, -1), (-1,), (rest, 1, first), (first, rest, 2)])
                ),
            )
        case "transpose":
            return name, (draw(axis), draw(axis))
        case "permute":
            return name, (tuple(draw(st.permutations(range(x.dim())))),)
        case "expand":
            sizes = tuple(draw(st.sampled_from([-1, n, 3])) for n in x.shape)
            return name, (draw(st.sampled_from([sizes, (2, *sizes)])),) if sizes else ((2,),)
        case _:
            return name, (draw(axis),)


def test_flatten_and_a_view_that_would_copy() -> None:
    x = meta(2, 3, 4, 5)
    assert view_of("flatten", (shape_only(x), 1, 2), {})[1] == ((2, 12, 5), (60, 5, 1))
    with pytest.raises(PlanError, match="would copy"):
        view_of("flatten", (shape_only(x.transpose(1, 2)), 1, 2), {})
