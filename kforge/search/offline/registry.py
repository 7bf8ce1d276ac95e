"""The tasks that the offline proposer can write kernels for: one recipe each, in the order of their ids."""

from __future__ import annotations

from kforge.search.offline import columns, conv_tail, elementwise, loss, matmul, rownorm, softmax
from kforge.search.offline.genes import Recipe
from kforge.search.offline.matmul import Product

RECIPES: tuple[Recipe, ...] = (
    matmul.recipe("kb/L1/1", Product(None, False, matmul.NO_TAIL)),
    elementwise.recipe("kb/L1/19", "relu"),
    elementwise.recipe("kb/L1/21", "sigmoid"),
    softmax.recipe("kb/L1/23"),
    elementwise.recipe("kb/L1/26", "gelu"),
    rownorm.recipe("kb/L1/34", "instance_norm"),
    columns.recipe("kb/L1/36", "rms"),
    rownorm.recipe("kb/L1/40", "layer_norm"),
    columns.recipe("kb/L1/47", "sum"),
    elementwise.recipe("kb/L1/88", "new_gelu"),
    loss.recipe("kb/L1/94", loss.MSE),
    loss.recipe("kb/L1/98", loss.KL_DIV),
    conv_tail.recipe("kb/L2/1", conv_tail.RELU_BIAS),
    matmul.recipe("kb/L2/12", Product("gemm", True, matmul.SCALE_LEAKY)),
    rownorm.recipe("kb/L2/17", "conv_norm_divide"),
    matmul.recipe("kb/L2/40", Product("matmul", True, matmul.SCALE_RESIDUAL)),
    matmul.recipe("kb/L2/76", Product("gemm", False, matmul.BIAS_RELU, "bias")),
    matmul.recipe("kb/L2/86", Product("linear", True, matmul.DIVIDE_GELU)),
)


def find(task_id: str) -> Recipe | None:
    """The recipe of a task, or None if the rules do not cover it."""
    return next((recipe for recipe in RECIPES if recipe.task_id == task_id), None)
