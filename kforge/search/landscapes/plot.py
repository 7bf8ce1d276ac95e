"""The anytime curves as one HTML page that needs nothing else: no script, no request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from kforge.search.landscapes.compare import Array, Comparison
from kforge.search.landscapes.criteria import GREEDY, PLAIN
from kforge.search.strategies.registry import SHIPPED

WIDTH, HEIGHT = 760.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 150.0, 14.0, 36.0
LINE_HEIGHT = 14.0
# Scores below this are far from everything of interest, and are drawn as this.
LOWEST = -1.0
_CLASSES = {SHIPPED: "shipped", GREEDY: "greedy", PLAIN: "plain"}
_CSS = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
svg { width: 100%; height: auto; font-size: 11px; }
path { fill: none; stroke: #9aa2ad; stroke-width: 1.1; } text { fill: currentColor; }
path.rule { stroke: #9aa2ad50; stroke-width: 1; }
path.shipped { stroke: #1f6fc8; stroke-width: 2.6; } path.greedy { stroke: #c8571f; stroke-width: 1.8; }
path.plain { stroke: #2f8f4e; stroke-width: 1.8; } .end { text-anchor: end; } .mid { text-anchor: middle; }
text.shipped { fill: #1f6fc8; font-weight: 600; } text.greedy { fill: #c8571f; } text.plain { fill: #2f8f4e; }
"""


def page_of(comparisons: Sequence[Comparison]) -> str:
    """The whole page: two drawings for each setting."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kforge bench search</title>',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">",
        f"<style>{_CSS}</style></head><body><h1>Search strategies on recorded landscapes</h1>",
    ]
    for comparison in comparisons:
        setting, names = comparison.setting, ", ".join(escape(name) for name in comparison.names)
        where = f"{escape(setting.steps)} steps, {setting.workers} at a time"
        parts.append(f"<h2>{where}</h2><p>Mean over {names}.</p>")
        parts.append("<h3>Fraction of the optimum</h3>")
        parts.append(_drawing(comparison.arms, comparison.curves, f"Fraction of the optimum, {where}"))
        parts.append("<h3>Random-relative score: 0 is random search, 1 the optimum</h3>")
        title = f"Random-relative score, {where}"
        parts.append(_drawing(comparison.arms, comparison.score_curves, title))
    return "\n".join([*parts, "</body></html>\n"])


def _drawing(arms: Sequence[str], curves: Array, title: str) -> str:
    finite = curves[np.isfinite(curves)]
    low = max(LOWEST, float(finite.min())) if finite.size else 0.0
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(title)}">',
            *_axes(curves.shape[1], low),
            *_lines(arms, curves, low),
            "</svg>",
        ]
    )


def _x(evaluation: float, last: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (evaluation - 1) / max(1, last - 1)


def _y(value: float, low: float) -> float:
    """``low`` and less at the bottom, 1 at the top."""
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (max(value, low) - low) / max(1e-9, 1.0 - low)


def _axes(last: int, low: float) -> Iterator[str]:
    step = 0.1 if 1.0 - low < 1.2 else 0.5
    for number in range(math.ceil(low / step), round(1 / step) + 1):
        y = _y(number * step, low)
        yield f'<path class="rule" d="M{LEFT:.0f} {y:.1f}H{WIDTH - RIGHT:.0f}"/>'
        yield f'<text class="end" x="{LEFT - 6:.0f}" y="{y + 4:.1f}">{number * step:.1f}</text>'
    for evaluation in sorted({1, *(round(last * share / 4) for share in (1, 2, 3, 4))} - {0}):
        x = _x(evaluation, last)
        yield f'<text class="mid" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15:.0f}">{evaluation}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="mid" x="{middle:.0f}" y="{HEIGHT - 4:.0f}">evaluations</text>'


def _lines(arms: Sequence[str], curves: Array, low: float) -> Iterator[str]:
    """A line for each arm, the named ones on top; names beside their ends, moved apart where they touch."""
    order = sorted(range(len(arms)), key=lambda a: arms[a] in _CLASSES)
    for a in order:
        points = [
            f"{_x(n + 1, curves.shape[1]):.1f} {_y(v, low):.1f}"
            for n, v in enumerate(curves[a].tolist())
            if math.isfinite(v)
        ]
        if points:
            kind, name = _CLASSES.get(arms[a], "other"), escape(arms[a])
            yield f'<path class="{kind}" d="M{"L".join(points)}"><title>{name}</title></path>'
    below = TOP - LINE_HEIGHT
    for a in sorted(order, key=lambda a: -float(np.nan_to_num(curves[a, -1]))):
        value = float(np.nan_to_num(curves[a, -1]))
        below = max(below + LINE_HEIGHT, _y(value, low) + 4)
        kind = _CLASSES.get(arms[a], "other")
        yield (
            f'<text class="{kind}" x="{WIDTH - RIGHT + 6:.0f}" y="{below:.1f}">{escape(arms[a])} '
            f"{value:.3f}</text>"
        )
