"""Mean and variance over contiguous rows: instance norm, layer norm, and convolution with instance norm."""

from __future__ import annotations

from functools import partial

from kforge.search.offline.device_code import (
    MODE_WORDS,
    PRELUDE,
    ROW_MODES,
    RowMapping,
    fill,
    kernel,
    packs,
    work_groups,
)
from kforge.search.offline.genes import Draft, Gene, Genes, Recipe
from kforge.search.offline.rows import KEEP_WORDS, constants, each, local_arguments, local_params, prepare

GENES = (
    Gene("mode", ROW_MODES),
    Gene("statistics", ("two_pass", "pivot", "welford")),
    Gene("keep", ("none", "local", "registers")),
    Gene("kernels", ("fused", "separate")),
    Gene("wg", (64, 16, 32, 128, 256)),
    Gene("vec", (1, 4, 8, 16)),
)
CONV_GENES = (*GENES, Gene("output", ("fresh", "in_place")), Gene("bias", ("operator", "cancelled")))
_WORDS = {
    "two_pass": "mean first, then centred squares (with the mean's own rounding error taken out)",
    "pivot": "one pass of sums shifted by the mean of the row's first elements",
    "welford": "one pass of Welford updates per lane, merged at the end",
}

_SUMS = "pack acc = 0.0f, sum = 0.0f; float rest = 0.0f, sum_rest = 0.0f;\n"
_FOLD = "sum += acc; acc = 0.0f; sum_rest += rest; rest = 0.0f;"
_TOTAL = "total(it, shared, sum_pack(sum + acc) + sum_rest + rest)"
_CENTRED = """\
acc = 0.0f; rest = 0.0f; sum = 0.0f; sum_rest = 0.0f;
pack off = 0.0f, drifted = 0.0f; float off_rest = 0.0f, drifted_rest = 0.0f;
@squares@
const float drift = total(it, shared, sum_pack(drifted + off) + drifted_rest + off_rest) / n;
const float var = @total@ / n - drift * drift;
mean += drift;
"""
_FOLD_BOTH = _FOLD + " drifted += off; off = 0.0f; drifted_rest += off_rest; off_rest = 0.0f;"


def _centred(keep: str) -> str:
    """Squares around a provisional ``mean``, which is corrected by what is left of it."""
    squares = each(
        keep,
        "const pack d = v - mean;\nacc += d * d; off += d;",
        "const float d = v - mean;\nrest += d * d; off_rest += d;",
        fold=_FOLD_BOTH,
    )
    return fill(_CENTRED, squares=squares, total=_TOTAL)


def _two_pass(keep: str) -> str:
    first = each(keep, "acc += v;", "rest += v;", fold=_FOLD)
    return _SUMS + first + f"float mean = {_TOTAL} / n;\n" + _centred(keep)


def _pivot(keep: str) -> str:
    probe = each("none", "acc += v;", "rest += v;", limit="probed")
    start = "const int probed = n < 256 ? n : 256;\n" + _SUMS
    return start + probe + f"float mean = {_TOTAL} / probed;\n" + _centred(keep)


def _welford(keep: str) -> str:
    first = each(
        keep,
        "const pack d = v - m; m += d / ++many; acc += d * (v - m);",
        "const float d = v - m_rest; m_rest += d / ++few; rest += d * (v - m_rest);",
    )
    return (
        "pack acc = 0.0f, m = 0.0f; float rest = 0.0f, m_rest = 0.0f, many = 0.0f, few = 0.0f;\n"
        + first
        + """\
const float mean = total(it, shared, sum_pack(m) * many + m_rest * few) / n;
const pack gap = m - mean;
const float spread = sum_pack(acc + gap * gap * many) + rest + few * (m_rest - mean) * (m_rest - mean);
const float var = total(it, shared, spread) / n;
"""
    )


_STATISTICS = {"two_pass": _two_pass, "pivot": _pivot, "welford": _welford}


def _normalise(keep: str, affine: bool) -> str:
    if not affine:
        return each(keep, "store(y + i, (v - mean) * inv);", "y[i] = (v - mean) * inv;")
    return each(
        keep,
        "store(y + i, (v - mean) * inv * load(weight + i) + load(bias + i));",
        "y[i] = (v - mean) * inv * weight[i] + bias[i];",
    )


def _source(genes: Genes, mapping: RowMapping, affine: bool) -> str:
    keep = str(genes["keep"])
    head = PRELUDE + packs(int(genes["vec"])) + constants(keep) + mapping.combiner("total", "plus")
    tensors = "const float* in, const float* weight, const float* bias, " if affine else "const float* in, "
    row = "const float* x = in + row * n;\n"
    statistics = row + prepare(keep) + _STATISTICS[str(genes["statistics"])](keep)
    inv = "const float inv = post / sycl::sqrt(sycl::fmax(var, 0.0f) + eps);\n"
    extra = local_params(keep) + mapping.params
    if genes["kernels"] == "fused":
        body = statistics + inv + "float* y = out + row * n;\n" + _normalise(keep, affine)
        params = tensors + "float* out, long rows, int n, float eps, float post" + extra
        return head + kernel("normalise", params, mapping.frame(body))
    body = statistics + inv + "if (lane == 0) { means[row] = mean; scales[row] = inv; }\n"
    params = "const float* in, float* means, float* scales, long rows, int n, float eps, float post" + extra
    apply_row = row + "const float mean = means[row], inv = scales[row];\nfloat* y = out + row * n;\n"
    plain = RowMapping("group")
    frame = plain.frame(apply_row + _normalise("none", affine))
    apply_params = tensors + "const float* means, const float* scales, float* out, long rows, int n"
    return (
        head
        + kernel("row_statistics", params, mapping.frame(body))
        + kernel("normalise", apply_params, frame)
    )


_PLAN = """\
def plan(k, @inputs@):
@prepare@
    @launches@
    return y
"""


def _plan(
    genes: Genes, mapping: RowMapping, prepare_text: str, *, inputs: str, affine: bool, post: str
) -> str:
    keep = str(genes["keep"])
    extra = local_arguments(keep) + mapping.arguments
    tensors = "x, weight, bias" if affine else "x"
    if genes["kernels"] == "fused":
        launches = f'k.launch("normalise", {mapping.launch},\n'
        launches += f"             args=[{tensors}, y, rows, n, 1e-5, {post}{extra}])"
    else:
        launches = 'means = k.empty((rows,), "float32")\n    scales = k.empty((rows,), "float32")\n'
        launches += f'    k.launch("row_statistics", {mapping.launch},\n'
        launches += f"             args=[x, means, scales, rows, n, 1e-5, {post}{extra}])\n"
        launches += '    k.launch("normalise", grid=(rows,), block=(k.tune.WG_SIZE,),\n'
        launches += f"             args=[{tensors}, means, scales, y, rows, n])"
    return fill(_PLAN, inputs=inputs, prepare=prepare_text, launches=launches)


_PLANES = """\
    rows = x.shape[0] * x.shape[1]
    n = x.numel() // rows
    y = k.empty_like(x)"""
_LAYERS = """\
    weight = k.param("ln.weight")
    bias = k.param("ln.bias")
    n = weight.numel()
    rows = x.numel() // n
    y = k.empty_like(x)"""
_CONV = """\
    x = k.op("conv2d", image, k.param("conv.weight")@bias@)
    rows = x.shape[0] * x.shape[1]
    n = x.shape[2] * x.shape[3]
    y = @output@"""


def _write(kind: str, genes: Genes) -> Draft:
    mapping = RowMapping(str(genes["mode"]))
    affine = kind == "layer_norm"
    inputs, post = "x", "1.0"
    prepare_text = _LAYERS if affine else _PLANES
    if kind == "conv_norm_divide":
        # A constant per channel leaves through the mean, so the convolution's bias need not be added.
        bias = "" if genes["bias"] == "cancelled" else ', k.param("conv.bias")'
        output = "x" if genes["output"] == "in_place" else "k.empty_like(x)"
        inputs, post = "image", '1.0 / k.init("divide_by")'
        prepare_text = fill(_CONV, bias=bias, output=output)
    plan = _plan(genes, mapping, prepare_text, inputs=inputs, affine=affine, post=post)
    idea = (
        f"{kind}: {MODE_WORDS[mapping.mode]}; {_WORDS[str(genes['statistics'])]}; "
        f"{KEEP_WORDS[str(genes['keep'])]}; {genes['kernels']} kernels; {genes['vec']} floats per load."
    )
    if kind == "conv_norm_divide":
        idea += f" The convolution's bias: {genes['bias']}; output: {genes['output']}."
    return Draft(work_groups(int(genes["wg"])), _source(genes, mapping, affine), plan, idea)


def settle(genes: Genes) -> Genes:
    """One work-item cannot share a tile with others of another row, and packs need plain rows."""
    settled = dict(genes)
    if settled["mode"] in ("serial", "subgroup") and settled["keep"] == "local":
        settled["keep"] = "none"
    if settled["mode"] == "solo":
        settled["keep"] = "none"
    if settled["keep"] != "none" and not (
        settled["statistics"] == "pivot" or settled["kernels"] == "separate"
    ):
        settled["vec"] = 1
    return settled


def recipe(task_id: str, kind: str) -> Recipe:
    """The recipe of a norm task; ``kind`` is instance_norm, layer_norm or conv_norm_divide."""
    genes = CONV_GENES if kind == "conv_norm_divide" else GENES
    fast = (("mode", "solo"), ("vec", 16), ("output", "in_place"), ("bias", "cancelled"))
    return Recipe(task_id, kind, genes, partial(_write, kind), settle, fast)
