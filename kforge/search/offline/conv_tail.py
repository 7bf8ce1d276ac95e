"""Convolution by the library operator, its point-wise tail by one kernel over planes."""

from __future__ import annotations

from functools import partial

from kforge.search.offline import tail as tails
from kforge.search.offline.device_code import work_groups
from kforge.search.offline.genes import Draft, Genes, Recipe
from kforge.search.offline.tail import RELU, Tail

RELU_BIAS = Tail("relu, then a bias per channel", (RELU, "v + bias_v"), ("0.0", "0.0"), "row")

_PLAN = """\
def plan(k, image):
    x = k.op("conv2d", image, k.param("conv.weight"), k.param("conv.bias"))
    rows = x.shape[0] * x.shape[1]
    n = x.shape[2] * x.shape[3]
{launches}
    return y
"""


def _write(tail: Tail, genes: Genes) -> Draft:
    plan = _PLAN.format(launches=tails.launches(tail, genes, 'k.param("bias")', "x.shape[1]"))
    idea = (
        f"library convolution, then {tail.name}: {tails.WORDS[str(genes['tail'])]}; output {genes['output']}."
    )
    return Draft(work_groups(int(genes["wg"])), tails.source(tail, genes), plan, idea)


def recipe(task_id: str, tail: Tail) -> Recipe:
    """The recipe of a convolution with a point-wise tail."""
    fast = (("tail", "solo"), ("vec", 16), ("output", "in_place"))
    return Recipe(task_id, "conv_tail", tails.GENES, partial(_write, tail), tails.settle, fast)
