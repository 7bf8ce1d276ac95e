"""The curve of a run as inline SVG: no script, no style attribute, colours by class from the page's sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from kforge.report.curve import Point

_LEFT, _RIGHT, _TOP = 46.0, 14.0, 26.0
_BELOW = 58.0  # the lane of failures, then the numbers of the axis and its title
_LANE = 8.0
_MANTISSAS = (1.0, 1.5)
# Slower kernels than a 16th of the best would press the interesting part flat; the caption counts them.
_LOWEST_SHARE = 16.0
_MANY = 400  # points that need smaller marks


@dataclass(frozen=True, slots=True)
class _Scale:
    """From (told, speedup) to pixels; the speedup axis is logarithmic."""

    told: int
    low: float
    high: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.height - _BELOW

    @property
    def right(self) -> float:
        return self.width - _RIGHT

    def x(self, told: float) -> float:
        share = (told - 1) / max(1, self.told - 1)
        return _LEFT + 8 + share * (self.right - _LEFT - 16)

    def y(self, speedup: float) -> float:
        inside = min(max(speedup, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.bottom - share * (self.bottom - _TOP)


def curve_svg(points: Sequence[Point], *, name: str, width: int, height: int) -> Markup:
    """The best-so-far curve with its interval, other passed candidates as dots, failures as ticks.

    Args:
        points: the course of the run.
        name: prefix of ids, unique within the page.
        width: of the drawing, in the units of its text size.
        height: likewise.
    """
    scale = _scale(points, width, height)
    parts = [
        f'<svg class="curve {name}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">Speedup of the best kernel so far</title>',
        f'<desc id="{name}-desc">{escape(_description(points))}</desc>',
        *_axes(scale),
        *_best(points, scale),
        *_others(points, scale),
        # Last, so that no dot covers it.
        f'<text class="axis end" x="{scale.right:.0f}" y="{scale.y(1.0) - 5:.1f}">baseline</text>',
        "</svg>",
    ]
    return Markup("\n".join(parts))  # numbers and words of ours only; the description is escaped


def below_axis(points: Sequence[Point]) -> int:
    """How many passed candidates are too slow for the drawing."""
    low, _ = _range(points)
    return sum(point.own is not None and point.own.speedup < low for point in points)


def _description(points: Sequence[Point]) -> str:
    passed = sum(point.own is not None for point in points)
    said = f"{len(points)} candidates told, {passed} passed."
    last = points[-1].best if points else None
    if last is None:
        return f"{said} No kernel is correct yet."
    when = max(point.told for point in points if point.improved)
    return (
        f"{said} The best reached {last.speedup:.2f} times the baseline's speed "
        f"({last.low:.2f} to {last.high:.2f}), with candidate number {when} to be told."
    )


def _range(points: Sequence[Point]) -> tuple[float, float]:
    bests = [point.best for point in points if point.best is not None]
    owns = [point.own.speedup for point in points if point.own is not None]
    top = max([1.0, *owns, *(min(best.high, 2 * best.speedup) for best in bests)])
    floor = min(1.0, max([1.0, *owns]) / _LOWEST_SHARE)
    bottom = min([1.0, *(speedup for speedup in owns if speedup >= floor), *(b.low for b in bests)])
    return max(bottom, floor) / 1.12, top * 1.12


def _scale(points: Sequence[Point], width: int, height: int) -> _Scale:
    low, high = _range(points)
    return _Scale(max(1, len(points)), low, high, float(width), float(height))


def _speedup_ticks(scale: _Scale) -> list[float]:
    """Powers of two and one and a half times those, as many as have room."""
    first, last = math.floor(math.log2(scale.low)), math.ceil(math.log2(scale.high))
    fine = [m * 2.0**e for e in range(first, last + 1) for m in _MANTISSAS]
    room = max(2, int((scale.bottom - _TOP) / 34))
    for step in (1, 2, 4, 8, 16):
        # Counted from 1, so that the baseline always has its line.
        start = fine.index(1.0) % step
        ticks = [tick for tick in fine[start::step] if scale.low <= tick <= scale.high]
        if len(ticks) <= room:
            break
    return ticks


def _told_ticks(scale: _Scale) -> list[int]:
    room = max(2, int((scale.right - _LEFT) / 70))
    step = next(m * 10**e for e in range(8) for m in (1, 2, 5) if scale.told / (m * 10**e) <= room)
    return sorted({1, *range(step, scale.told + 1, step)} if step > 1 else set(range(1, scale.told + 1)))


def _axes(scale: _Scale) -> Iterable[str]:
    yield '<text class="axis" x="4" y="14">speedup over the baseline</text>'
    for tick in _speedup_ticks(scale):
        y = scale.y(tick)
        kind = "baseline" if tick == 1.0 else "rule"
        yield f'<path class="{kind}" d="M{_LEFT:.0f} {y:.1f}H{scale.right:.0f}"/>'
        yield f'<text class="tick end" x="{_LEFT - 8:.0f}" y="{y + 4:.1f}">{tick:g}×</text>'
    base = scale.bottom + _LANE + 12
    for told in _told_ticks(scale):
        yield f'<text class="tick mid" x="{scale.x(told):.1f}" y="{base + 14:.1f}">{told}</text>'
    middle = (_LEFT + scale.right) / 2
    yield f'<text class="axis mid" x="{middle:.0f}" y="{scale.height - 4:.0f}">candidates told</text>'


def _best(points: Sequence[Point], scale: _Scale) -> Iterable[str]:
    steps = [point for point in points if point.improved and point.best is not None]
    if not steps:
        return
    ends = [*(scale.x(step.told) for step in steps[1:]), scale.x(scale.told)]
    upper = lower = line = ""
    for step, end in zip(steps, ends, strict=True):
        if step.best is None:
            continue
        x, command = scale.x(step.told), "L" if line else "M"
        line += f"{command}{x:.1f} {scale.y(step.best.speedup):.1f}H{end:.1f}"
        upper += f"{command}{x:.1f} {scale.y(step.best.high):.1f}H{end:.1f}"
        lower = f"L{end:.1f} {scale.y(step.best.low):.1f}H{x:.1f}" + lower
    yield f'<path class="band" d="{upper}{lower}Z"/>'
    yield f'<path class="best" d="{line}"/>'
    radius = 3 if len(points) > _MANY else 4.5
    for step in steps:
        if step.best is not None:
            yield (
                f'<circle class="step" cx="{scale.x(step.told):.1f}" cy="{scale.y(step.best.speedup):.1f}" '
                f'r="{radius}"><title>candidate {step.ordinal}: {step.best.speedup:.2f}×</title></circle>'
            )


def _others(points: Sequence[Point], scale: _Scale) -> Iterable[str]:
    """Passed candidates that were not the best, and failures; marks that fall together are drawn once."""
    dots = {
        (round(scale.x(point.told)), round(scale.y(point.own.speedup)))
        for point in points
        if point.own is not None and not point.improved and point.own.speedup >= scale.low
    }
    ticks = {round(scale.x(point.told), 0) for point in points if point.own is None}
    if dots:
        # A line of no length with round ends is a dot; one path holds thousands of them.
        many = " many" if len(points) > _MANY else ""
        yield f'<path class="dots{many}" d="{"".join(f"M{x} {y}h0" for x, y in sorted(dots))}"/>'
    if ticks:
        top = scale.bottom + 6
        yield f'<path class="fails" d="{"".join(f"M{x:.0f} {top:.1f}v{_LANE:.0f}" for x in sorted(ticks))}"/>'
        yield f'<text class="tick end" x="{_LEFT - 8:.0f}" y="{top + 8:.1f}">failed</text>'
