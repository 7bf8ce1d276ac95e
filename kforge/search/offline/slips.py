"""Honest mistakes: the slips of a weak model, so that repairs and failure reports have work to do.

About one reply in six carries one. Each is a real mistake in the text, and nothing in the file marks it.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from kforge.search.offline.genes import Draft

RATE = 1 / 6
KINDS = ("typo", "undeclared", "argument_type", "wrong_kernel", "wrong_value", "no_kernel", "truncated")
TEXT_SLIPS = ("no_kernel", "truncated")

# Right text, and what a careless author writes instead. The first pair that occurs is used.
_WRONG_VALUES = (
    (
        "total(it, shared, sum_pack(sum + acc) + sum_rest + rest) / n",
        "total(it, shared, sum_pack(sum + acc) + sum_rest + rest) / (n / 2)",
    ),
    ("total(it, shared, spread) / n", "total(it, shared, spread) / (n - 1)"),
    ("exp_pack(v - peak) * inv);", "exp_pack(v - peak));"),
    ("sycl::exp(v - peak) * inv;", "sycl::exp(v - peak);"),
    ("store(y + i, load(y + i) * inv)", "store(y + i, load(y + i))"),
    ("= exp_pack(v - peak)", "= exp_pack(v)"),
    ("sycl::exp(-x)", "sycl::exp(x)"),
    ("0.70710678118654752f", "0.79788456080286536f"),
    ("0.044715f", "0.44715f"),
    ("x < 0.0f ? 0.0f : x", "x < 0.0f ? -x : x"),
    ("x < 0.0f ? 1.0f : 0.0f", "x < 0.0f ? 0.0f : 1.0f"),
    ("s / float(depth) + eps", "s + eps"),
    ("v < 0.0f ? v * b : v", "v < 0.0f ? v : v * b"),
    ("v = v * a + v;", "v = v * a;"),
    ("v < 0.0f ? 0.0f : v", "v < 0.0f ? -v : v"),
    ("const int from = int(", "const int from = 1 + int("),
    ("int k = 0;", "int k = 1;"),
    ("(a - b) * (a - b)", "(a - b) * a"),
    ("b * sycl::log(b)) - b", "b * sycl::log(b)) + b"),
)
_UNTYPED = re.compile(r"(args=\[[^\]]*?)\b(n|depth)\b")


def draw(rng: random.Random) -> str | None:
    """Which slip this reply carries, if any."""
    return rng.choice(KINDS) if rng.random() < RATE else None


def apply(kind: str, draft: Draft) -> Draft:
    """The draft with one mistake in its device code or plan; text slips leave it alone."""
    match kind:
        case "typo":
            return replace(draft, source=draft.source.replace("nd_item<1>();", "nd_item<1>()", 1))
        case "undeclared":
            return replace(draft, source=draft.source.replace("it.get_", "item.get_", 1))
        case "argument_type":
            return replace(draft, plan=_UNTYPED.sub(r"\1float(\2)", draft.plan, count=1))
        case "wrong_kernel":
            return replace(draft, plan=draft.plan.replace('k.launch("', 'k.launch("run_', 1))
        case "wrong_value":
            return replace(draft, source=_wrong_value(draft.source))
        case _:
            return draft


def _wrong_value(source: str) -> str:
    for right, wrong in _WRONG_VALUES:
        if right in source:
            return source.replace(right, wrong)
    return source
