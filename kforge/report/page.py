"""From a report to one HTML file that needs nothing else: no network, no script, no font of its own.

Sources, reasons, logs and names were written by models or strangers. All of them go through ``visible``
and are escaped; a content policy in the page forbids every script and every request, should one slip by.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from kforge.report.curve import Interval, Point
from kforge.report.data import Report
from kforge.report.svg import below_axis, curve_svg

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_ROWS = 400
MAX_NAME_CHARS = 160
MAX_SOURCE_CHARS = 300_000
OPEN_DIFF_LINES = 24
# Upper ends of the classes of speed; a page colours cells by these.
HEAT = (0.5, 0.95, 1.05, 1.5, 2.0, 4.0, 8.0)
# Control characters, and what changes the direction of text or shows nothing; tabs and line ends stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

STATES = {
    "running": "under way, or killed",
    "finished": "finished",
    "budget": "stopped: a limit was reached",
    "waiting": "waiting for answers",
    "interrupted": "interrupted",
}
VERDICTS = {
    "FAST": "the whole interval is above the baseline",
    "SLOW": "the whole interval is below the baseline",
    "SAME": "within 2 % of the baseline",
    "AMBIGUOUS": "no verdict. The machine was busy, the kernel too short to time, or the interval holds 1",
}


def page_of(report: Report) -> str:
    """The whole page."""
    css = files("kforge.report").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            r=report,
            css=Markup(css),  # our own file
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            state=STATES.get(report.run.state, report.run.state),
            verdicts=VERDICTS,
            wide=curve_svg(report.curve, name="wide", width=960, height=380),
            narrow=curve_svg(report.curve, name="narrow", width=400, height=320),
            below=below_axis(report.curve),
            rows=_rows(report.curve),
            heat_classes=_heat_classes(),
            max_source=MAX_SOURCE_CHARS,
            max_rows=MAX_ROWS,
            open_diff_lines=OPEN_DIFF_LINES,
        )
    )


def visible(text: str) -> str:
    """``text`` with characters that would hide, reorder or break something written out."""
    return _UNSEEN.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the control picture
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"


def _rows(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The points that the table shows: all of them, or every improvement and as many others as fit."""
    if len(points) <= MAX_ROWS:
        return points
    improvements = [point for point in points if point.improved][-MAX_ROWS:]
    others = [point for point in points if not point.improved][: MAX_ROWS - len(improvements)]
    return tuple(sorted((*improvements, *others), key=lambda point: point.told))


def _heat(speedup: float) -> str:
    """The CSS class of a speedup."""
    return f"h{sum(speedup >= limit for limit in HEAT)}"


def _heat_classes() -> list[tuple[str, str]]:
    """Every class with its range in words, for the legend."""
    words = [f"below {HEAT[0]:g}×"]
    words += [f"{low:g} to {high:g}×" for low, high in pairwise(HEAT)]
    words.append(f"{HEAT[-1]:g}× and more")
    return [(f"h{index}", word) for index, word in enumerate(words)]


def _times(speedup: float) -> str:
    return f"{speedup:,.2f}×"


def _span(interval: Interval) -> str:
    return f"{interval.low:,.2f} to {interval.high:,.2f}"


def _us(microseconds: float) -> str:
    digits = 2 if microseconds < 10 else 1 if microseconds < 100 else 0
    return f"{microseconds:,.{digits}f} µs"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _usd(dollars: float) -> str:
    return f"${dollars:,.4f}" if 0 < dollars < 0.1 else f"${dollars:,.2f}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 or share == 0 else "< 1%"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _name(text: str) -> str:
    return text if len(text) <= MAX_NAME_CHARS else f"{text[:MAX_NAME_CHARS]}…"


def _breakable(label: str) -> Markup:
    """A label that may break after a slash."""
    return escape(label).replace("/", Markup("/<wbr>"))


def _finalize(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kforge.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        times=_times, span=_span, us=_us, duration=_duration, usd=_usd, percent=_percent, words=_words,
        heat=_heat, name=_name, breakable=_breakable,
    )  # fmt: skip
    return environment
