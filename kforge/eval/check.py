"""Is an output right? fp64 truth, an allowance from the precision model, exact masks and integers.

Bounds, per group (row, channel or the whole output): rms(c - r) <= 4 * E_rms + u_out * rms(r), and every
element |c - r| <= 8 * E_max + 2 * u_out * |r|, where E is the spread of the precision model (or of eager
PyTorch, whichever is larger) around the truth. Source: design section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kforge.eval.precision_model import NoiseMode
from kforge.eval.ties import Pointed, watched
from kforge.types import CheckFailure, Precision

RMS_FACTOR = 4.0
MAX_FACTOR = 8.0
# Noise that a group shares (a row's mean, one sum) may happen to be small in one draw of the model.
FEW_GROUPS = 16
SMALL_OUTPUT = 1 << 20
MORE_DRAWS = 4
SMALL_GROUP = 16
ILL_CONDITIONED = 0.1
FEW_NOISY = 4.0
_OUT_ROUNDOFF = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why an output was rejected, in words for the proposer."""

    kind: CheckFailure
    reason: str
    max_error: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """An accepted output; ``max_error`` is in units of the allowed error, so at most 1."""

    max_error: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What one output must be.

    Attributes:
        exact: fp64 (or the integer type) values of the reference.
        spread_rms: per group, shape (groups, 1).
        spread_max: per group, shape (groups, 1).
        eager: the reference in its own precision, for the KernelBench verdict.
        pointed: what ``exact`` points into where it holds positions of largest or smallest values.
    """

    exact: Tensor
    spread_rms: Tensor
    spread_max: Tensor
    eager: Tensor
    pointed: Pointed | None = None


Reference = Callable[[], Sequence[Tensor]]


def truths(
    exact_run: Reference, eager_outputs: Sequence[Tensor], precision: Precision, rng: torch.Generator
) -> tuple[Truth, ...]:
    """Run the fp64 reference and the precision model.

    Args:
        exact_run: runs the reference in fp64 on this trial's inputs.
        eager_outputs: the reference's outputs in its own precision.
        precision: the candidate's declared precision.
        rng: noise of the precision model.
    """
    run, pointed = watched(exact_run)
    exact = [o.detach() for o in run]
    draws = max((_draws(o) for o in exact), default=1)
    modelled: list[Sequence[Tensor]] = []
    if any(o.is_floating_point() for o in exact):
        in_order: dict[int, float] = {}
        for _ in range(draws):
            with NoiseMode(precision, rng, in_order):
                modelled.append([o.detach() for o in exact_run()])
    return tuple(
        replace(_truth(exact[i], eager_outputs[i], [run[i] for run in modelled]), pointed=pointed[i])
        for i in range(len(exact))
    )


def _draws(exact: Tensor) -> int:
    few = groups_of(exact).shape[0] < FEW_GROUPS or exact.numel() < SMALL_OUTPUT
    return MORE_DRAWS if few else 1


def groups_of(values: Tensor) -> Tensor:
    """View as (groups, members): leading dimensions are the groups unless they leave too few members."""
    if values.dim() == 0 or values.numel() < SMALL_GROUP:
        return values.reshape(1, -1)
    groups = 1
    for size in values.shape[:-1][:2]:
        if values.numel() // (groups * size) < SMALL_GROUP:
            break
        groups *= size
    return values.reshape(groups, -1)


def _truth(exact: Tensor, eager: Tensor, modelled: Sequence[Tensor]) -> Truth:
    if not exact.is_floating_point():
        zero = torch.zeros((1, 1), dtype=torch.float64, device=exact.device)
        return Truth(exact, zero, zero, eager)
    grouped = groups_of(exact)
    rms = torch.zeros((grouped.shape[0], 1), dtype=torch.float64, device=exact.device)
    largest = torch.zeros_like(rms)
    for run in modelled:
        error = _off(run, grouped)
        rms = torch.maximum(rms, _rms(error))
        largest = torch.maximum(largest, error.amax(1, keepdim=True))
    own = _off(eager, grouped)
    spread_rms = torch.maximum(rms, _rms(own))
    spread_max = torch.maximum(largest, own.amax(1, keepdim=True))
    size = _rms(_finite_part(grouped))
    return Truth(exact, _at_least_typical(spread_rms, size), _at_least_typical(spread_max, size), eager)


def _off(values: Tensor, grouped: Tensor) -> Tensor:
    """Distance from the truth where both are finite, else 0."""
    return _finite_part(groups_of(values.double()) - grouped).abs_()


def _rms(values: Tensor) -> Tensor:
    """Of each group."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return norm / math.sqrt(values.shape[1])


def _finite_part(values: Tensor) -> Tensor:
    """With 0 in place of what is not finite."""
    return values if _all_finite(values) else values.nan_to_num(0.0, 0.0, 0.0)


def _all_finite(values: Tensor) -> bool:
    """One pass where all are: nothing that is not finite leaves a sum finite."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def _at_least_typical(spread: Tensor, size: Tensor) -> Tensor:
    """A group whose noise happened to cancel gets the median group's share of its own size."""
    shares = (spread / size)[size > 0]
    return torch.maximum(spread, shares.median() * size) if shares.numel() else spread


def judge(output: Tensor, truth: Truth, name: str, *, first_row: int = 0) -> Agreement | Mismatch:
    """Compare one output with its truth.

    Args:
        output: the candidate's, same shape and dtype as the reference's eager output.
        truth: what it must be.
        name: how the message calls it.
        first_row: where ``output`` begins in the whole one, if it is a piece of it.
    """
    exact = truth.exact
    if not exact.is_floating_point():
        wrong = int((output != exact.to(output.dtype)).sum())
        if wrong and truth.pointed is not None:
            wrong = truth.pointed.wrong(output, exact)
        if wrong:
            return Mismatch("mismatch", f"{name}: {wrong} of {exact.numel()} integer values differ", None)
        return Agreement(0.0)
    reference, candidate = groups_of(exact), groups_of(output.double())
    # Outputs have billions of elements: whether all are finite is asked once, and passes are made in place.
    if not (_all_finite(output) and _all_finite(exact)):
        masks = _mask_mismatch(output, exact, name, first_row)
        if masks is not None:
            return masks
        reference, candidate = (values.nan_to_num(0.0, 0.0, 0.0) for values in (reference, candidate))
    error = candidate.sub(reference).abs_()
    del candidate
    unit = _OUT_ROUNDOFF[output.dtype]
    # Kernels may flush denormals: below fp32's smallest normal number nothing is asked.
    tiny = 2.0**-126
    rms_bound = _rms_factor(truth, reference.shape[1]) * truth.spread_rms + unit * _rms(reference) + tiny
    rms_ratio = _rms(error) / rms_bound
    max_bound = reference.abs().mul_(2 * unit).add_(MAX_FACTOR * truth.spread_max + tiny)
    max_ratio = error.div_(max_bound)
    worst = float(torch.maximum(rms_ratio.max(), max_ratio.max()))
    if worst <= 1.0:
        return Agreement(worst)
    return Mismatch("mismatch", _describe(output, exact, max_ratio, f"{name}: ", (worst, first_row)), worst)


def _rms_factor(truth: Truth, members: int) -> Tensor:
    """Per group; the factor of single elements where a group's noise sits in a few of many members.

    A softmax of large logits is such a group: two competing members hold all of its error, so their rms
    varies from draw to draw as one element's does.
    """
    if members < SMALL_GROUP:
        return torch.full_like(truth.spread_rms, RMS_FACTOR)
    share = (truth.spread_rms / truth.spread_max).nan_to_num(1.0, 1.0, 1.0)
    return torch.where(members * share.square() < FEW_NOISY, MAX_FACTOR, RMS_FACTOR)


def fit_to_judge(eager: Tensor, truth: Truth, *, own: bool) -> bool:
    """Whether these values say anything of a candidate: the reference is finite, right and well-conditioned.

    Args:
        eager: the reference's output in its own precision.
        truth: of the same values.
        own: whether they are of the task's own distribution, which is never refused as ill-conditioned.
    """
    exact = truth.exact
    if not exact.is_floating_point() or exact.numel() == 0:
        return not isinstance(judge(eager, truth, "eager"), Mismatch)
    if not _all_finite(exact) or isinstance(judge(eager, truth, "eager"), Mismatch):
        return False
    # Where honest noise moves a group by a tenth of itself it decides which branch is taken (the largest of
    # two logits that are equal but for rounding): neither the model nor eager shows every honest result.
    largest = groups_of(exact).abs().amax(1, keepdim=True)
    return own or not bool((truth.spread_max > ILL_CONDITIONED * largest).any())


def _mask_mismatch(output: Tensor, exact: Tensor, name: str, first_row: int) -> Mismatch | None:
    both_nan = torch.isnan(output) & torch.isnan(exact)
    same_inf = torch.isinf(exact) & (output.double() == exact)
    wrong = (~torch.isfinite(output) | ~torch.isfinite(exact)) & ~both_nan & ~same_inf
    count = int(wrong.sum())
    if not count:
        return None
    where = _index(int(wrong.reshape(-1).int().argmax()), tuple(output.shape))
    got, want = float(output[where]), float(exact[where])
    hint = "; NaN or infinity where the reference is finite often means elements that were never written"
    return Mismatch(
        "non_finite",
        f"{name}: {count} of {output.numel()} values are non-finite where the reference is not (or the other "
        f"way round); first at {_shown(where, first_row)}: got {got}, want {want:.6g}{hint}",
        None,
    )


def _describe(output: Tensor, exact: Tensor, ratio: Tensor, label: str, found: tuple[float, int]) -> str:
    worst, first_row = found
    flat = int(ratio.reshape(-1).argmax())
    where = _index(flat, tuple(exact.shape))
    share = float((ratio > 1).double().mean())
    got, want = float(output.reshape(-1)[flat]), float(exact.reshape(-1)[flat])
    return (
        f"{label}{share:.2%} of {exact.numel()} values are outside their bound, worst {worst:.3g} times it, "
        f"at {_shown(where, first_row)}: got {got:.9g}, want {want:.9g}"
    )


def _shown(where: tuple[int, ...], first_row: int) -> tuple[int, ...]:
    return (where[0] + first_row, *where[1:]) if where else where


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    where: list[int] = []
    for size in reversed(shape):
        where.append(flat % size)
        flat //= size
    return tuple(reversed(where))


def kernelbench_verdict(output: Tensor, eager: Tensor, atol: float, rtol: float) -> bool:
    """KernelBench's own comparison: ``allclose`` against eager at the task's tolerance."""
    if output.dtype != eager.dtype or not eager.is_floating_point():
        output, eager = output.double(), eager.double()
    if not (_all_finite(output) and _all_finite(eager)):
        return bool(torch.allclose(output, eager, atol=atol, rtol=rtol))
    return bool(((output - eager).abs_() <= eager.abs().mul_(rtol).add_(atol)).all())
