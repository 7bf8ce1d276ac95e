"""Softmax over the last dimension."""

from __future__ import annotations

from kforge.search.offline.device_code import (
    MODE_WORDS,
    PRELUDE,
    ROW_MODES,
    RowMapping,
    kernel,
    packs,
    work_groups,
)
from kforge.search.offline.genes import Draft, Gene, Genes, Recipe
from kforge.search.offline.rows import KEEP_WORDS, constants, each, local_arguments, local_params, prepare

GENES = (
    Gene("mode", ROW_MODES),
    Gene("passes", ("recompute", "store", "online")),
    Gene("keep", ("none", "local", "registers")),
    Gene("kernels", ("fused", "separate")),
    Gene("wg", (64, 16, 32, 128, 256)),
    Gene("vec", (1, 4, 8, 16)),
)
_WORDS = {
    "recompute": "maximum, then sum, then exponentials again for the output",
    "store": "exponentials are written while they are summed, then scaled in place",
    "online": "maximum and sum in a single pass that rescales as the maximum moves",
}
# Starts below every float that is not -inf, so that exp(start - maximum) is 0 and never NaN.
_START = "pack m = -3.0e38f, acc = 0.0f; float m_rest = -3.0e38f, rest = 0.0f;\n"
_SUMS = "pack sum = 0.0f; float sum_rest = 0.0f;\n"
_FOLD = "sum += acc; acc = 0.0f; sum_rest += rest; rest = 0.0f;"
_ONLINE_END = """\
const float peak = highest(it, shared, sycl::fmax(max_pack(m), m_rest));
const float sum = sum_pack(acc * exp_pack(m - peak)) + rest * sycl::exp(m_rest - peak);
const float inv = 1.0f / total(it, shared, sum);
"""


def _statistics(keep: str, passes: str) -> str:
    if passes == "online":
        packed = "const pack w = wider(m, v);\nacc = acc * exp_pack(m - w) + exp_pack(v - w); m = w;"
        rest = (
            "const float w = sycl::fmax(m_rest, v);\n"
            "rest = rest * sycl::exp(m_rest - w) + sycl::exp(v - w); m_rest = w;"
        )
        return _START + each(keep, packed, rest) + _ONLINE_END
    keep_exp = passes == "store"
    packed = "const pack e = exp_pack(v - peak);\nacc += e;" + (" store(y + i, e);" if keep_exp else "")
    rest = "const float e = sycl::exp(v - peak);\nrest += e;" + (" y[i] = e;" if keep_exp else "")
    return (
        _START
        + each(keep, "m = wider(m, v);", "m_rest = sycl::fmax(m_rest, v);")
        + "const float peak = highest(it, shared, sycl::fmax(max_pack(m), m_rest));\n"
        + _SUMS
        + each(keep, packed, rest, fold=_FOLD)
        + "const float inv = 1.0f / total(it, shared, sum_pack(sum + acc) + sum_rest + rest);\n"
    )


def _output(keep: str, passes: str) -> str:
    if passes == "store":
        return each("none", "store(y + i, load(y + i) * inv);", "y[i] *= inv;")
    return each(keep, "store(y + i, exp_pack(v - peak) * inv);", "y[i] = sycl::exp(v - peak) * inv;")


_PLAN = """\
def plan(k, x):
    n = x.shape[-1]
    rows = x.numel() // n
    y = k.empty_like(x)
    {launches}
    return y
"""


def _write(genes: Genes) -> Draft:
    mapping, keep, passes = RowMapping(str(genes["mode"])), str(genes["keep"]), str(genes["passes"])
    head = PRELUDE + packs(int(genes["vec"])) + constants(keep)
    head += mapping.combiner("total", "plus") + mapping.combiner("highest", "maximum")
    row = "const float* x = in + row * n;\n"
    extra = local_params(keep) + mapping.params
    arguments = local_arguments(keep) + mapping.arguments
    statistics = prepare(keep) + _statistics(keep, passes)
    if genes["kernels"] == "fused":
        body = row + "float* y = out + row * n;\n" + statistics + _output(keep, passes)
        source = head + kernel(
            "softmax", "const float* in, float* out, long rows, int n" + extra, mapping.frame(body)
        )
        launches = f'k.launch("softmax", {mapping.launch}, args=[x, y, rows, n{arguments}])'
    else:
        body = row + statistics + "if (lane == 0) { peaks[row] = peak; scales[row] = inv; }\n"
        params = "const float* in, float* peaks, float* scales, long rows, int n" + extra
        source = head + kernel("row_statistics", params, mapping.frame(body))
        apply_body = row + "float* y = out + row * n;\nconst float peak = peaks[row], inv = scales[row];\n"
        frame = RowMapping("group").frame(apply_body + _output("none", "recompute"))
        params = "const float* in, const float* peaks, const float* scales, float* out, long rows, int n"
        source += kernel("scale_rows", params, frame)
        launches = (
            'peaks = k.empty((rows,), "float32")\n    scales = k.empty((rows,), "float32")\n'
            f'    k.launch("row_statistics", {mapping.launch}, args=[x, peaks, scales, rows, n{arguments}])\n'
            '    k.launch("scale_rows", grid=(rows,), block=(k.tune.WG_SIZE,),'
            " args=[x, peaks, scales, y, rows, n])"
        )
    idea = (
        f"softmax: {MODE_WORDS[mapping.mode]}; {_WORDS[passes]}; {KEEP_WORDS[keep]}; "
        f"{genes['kernels']} kernels; {genes['vec']} floats per load."
    )
    return Draft(work_groups(int(genes["wg"])), source, _PLAN.format(launches=launches), idea)


def _settle(genes: Genes) -> Genes:
    settled = dict(genes)
    if settled["mode"] == "solo" or (
        settled["mode"] in ("serial", "subgroup") and settled["keep"] == "local"
    ):
        settled["keep"] = "none"
    if settled["kernels"] == "separate" and settled["passes"] == "store":
        settled["passes"] = "recompute"
    if settled["keep"] != "none" and settled["kernels"] == "fused" and settled["passes"] != "store":
        settled["vec"] = 1
    return settled


def recipe(task_id: str) -> Recipe:
    """The recipe of a softmax task."""
    return Recipe(task_id, "softmax", GENES, _write, _settle, (("wg", 64), ("passes", "store")))
