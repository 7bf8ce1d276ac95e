"""The page: valid, escaped, whole for every kind of run, and bounded."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from kforge.data.records import InfraEvent, RunRecords
from kforge.eval.candidate import parse_candidate
from kforge.report.data import report_of
from kforge.report.page import MAX_ROWS, page_of, visible
from kforge.search.retell import summary_of
from kforge.types import BuildFailed, ParseFailed, Samples
from tests.evolve.world import DEVICE, candidate_text, passed
from tests.report.runs import START, Told, faster, prose, records_of, renamed, report, run_row

VOID = {"meta", "br", "wbr", "link", "hr", "img", "input"}
HOSTILE = (
    "</style></pre><script>alert(1)</script><img src=x onerror=alert(2)>"
    " javascript:alert(3) \x00\x1b[31m\u202e"
)


class Reader(HTMLParser):
    """Checks that elements nest, and collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.policy = self.css = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in {"href", "src", "action", "data"}:
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, tag
        assert self.stack.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "style":
            self.css += data
        else:
            self.text.append(data)


def read(records: RunRecords) -> tuple[str, Reader]:
    page = page_of(report(records))
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.stack == []
    assert not reader.elements & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    assert not {name for name in reader.attributes if name.startswith("on")} | reader.attributes & {"style"}
    assert all(link.startswith("#") for link in reader.links)
    assert len(reader.ids) == len(set(reader.ids))
    return page, reader


RUNS = {
    "nothing yet": records_of([], run_row(state="running")),
    "asked, not answered": records_of([Told(answered=False)], run_row(state="waiting")),
    "answered, not evaluated": records_of([Told()], run_row(state="running")),
    "only prose": records_of([prose()]),
    "nothing passed": records_of([Told(BuildFailed("no", "")), prose()]),
    "slower than the baseline": records_of([faster(0.001, 1, None, (3, 3, 3))]),
    "without a device": records_of([faster(2.0, 1, None, (0, 0, 0))], device=None),
    "two devices": records_of([faster(2.0, 1, None, (0, 0, 0))], device=renamed(DEVICE, "other")),
    "resumed, with trouble": records_of(
        [faster(2.0, 1, None, (0, 0, 0)), faster(700.0, 2, 0, (0, 0, 1))],
        run_row(state="interrupted"),
        infra_events=(InfraEvent("c0", "worker died", START),),
    ),
    "unreadable winner": records_of([Told(passed(2.0), source="not python (")]),
}


@pytest.mark.parametrize("records", RUNS.values(), ids=RUNS.keys())
def test_every_kind_of_run_has_a_page(records: RunRecords) -> None:
    page, reader = read(records)
    for heading in (
        "Best so far",
        "Archive",
        "What failed, and why",
        "Where the time went",
        "Go on from here",
    ):
        assert heading in reader.text
    assert "None" not in " ".join(reader.text)
    assert "nan" not in page.split("</style>")[1].replace("nanosecond", "")


def test_a_run_that_passed_says_so_first() -> None:
    told = [prose(), faster(2.5, 1, 0, (1, 1, 0)), faster(0.5, 2, 1, (0, 3, 3))]
    page, reader = read(records_of(told))
    text = re.sub(r"\s+", " ", "".join(reader.text))
    assert "2.50× FAST 2.45 to 2.55, 95 % interval" in text
    assert "Candidate 1 takes 40.0 µs against 100 µs of the baseline, eager PyTorch." in text
    assert "#1 best" in text
    assert "62 empty cells by name" in text
    assert "scalar / multi-pass / items" in text
    assert page.index("2.50×") < page.index("<h2")
    assert "No language model" not in page  # prose came from one


def test_a_figure_from_a_busy_machine_says_so() -> None:
    result = replace(passed(2.0).workloads[0], busy_others=0.81)
    outcome = replace(passed(2.0), verdict="AMBIGUOUS", noise=1.25, workloads=(result,))
    page, reader = read(records_of([Told(outcome)]))
    text = re.sub(r"\s+", " ", "".join(reader.text))
    assert "AMBIGUOUS: no verdict." in text
    assert "The noise of its samples was 125%. Other processes used 81% of the processors meanwhile." in text
    assert 'class="figure unsure"' in page


def test_without_a_model_the_page_says_so_before_the_figure() -> None:
    page, _ = read(records_of([faster(2.5, 1, None, (1, 1, 0))]))
    assert page.index("No language model was asked.") < page.index('class="figure')


def test_hostile_text_stays_text() -> None:
    source = candidate_text("1").replace("// gene 1", f"// {HOSTILE}")
    told = [
        Told(BuildFailed(HOSTILE, HOSTILE), kind=HOSTILE, model=f"openai: {HOSTILE}", source=HOSTILE),
        Told(passed(2.0), kind="repair", parent=0, source=source, model=HOSTILE),
        Told(ParseFailed(HOSTILE), source=None),
    ]
    run = replace(
        run_row(name=HOSTILE, task_id=HOSTILE),
        size=HOSTILE,
        language=HOSTILE,
        config={"task": HOSTILE, "track": HOSTILE, "torch": HOSTILE, "models": [HOSTILE], "evals": 3},
    )
    result = passed(2.0).workloads[0]
    outcome = replace(passed(3.0), workloads=(replace(result, workload=HOSTILE),))
    told.append(Told(outcome, kind="repair", parent=1, source=source))
    records = records_of(told, run, renamed(DEVICE, HOSTILE))
    # A summary is refused where a kind is unknown; the page must not rely on that.
    known = replace(records, proposals=tuple(replace(p, kind="improve") for p in records.proposals))
    summary = summary_of(known, parse_candidate)
    page = page_of(report_of(records, summary, made_at=START, made_by=HOSTILE))
    reader = Reader()
    reader.feed(page)
    assert reader.stack == []
    assert not reader.elements & {"script", "img"}
    assert "onerror" not in reader.attributes
    assert not any("javascript" in link for link in reader.links)
    assert "<script>alert(1)</script>" in "".join(reader.text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)


def test_characters_that_hide_are_written_out() -> None:
    assert visible("a\x00b\x1b\x7f\x9b") == "a␀b␛␡\\u009b"
    assert visible("\u202etxt.exe\u2066\ufeff") == "\\u202etxt.exe\\u2066\\ufeff"
    assert visible("lone \ud800") == "lone \\ud800"
    assert visible("tab\tline\r\nend\r") == "tab\tline\nend␍"


def test_policy_allows_the_sheet_and_nothing_else() -> None:
    _, reader = read(records_of([faster(2.0, 1, None, (0, 0, 0))]))
    digest = base64.b64encode(hashlib.sha256(reader.css.encode()).digest()).decode()
    assert reader.policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"url\(|@import|http", reader.css)


def test_measurements_against_torch_compile_are_shown_where_there_are_any() -> None:
    figures = Samples(10, 250.0, 240.0, 260.0, 0.08, 245.0, 255.0)
    result = replace(passed(2.0).workloads[0], compiled=figures, compiled_speedup=(1.5, 1.25, 1.75))
    outcome = replace(passed(2.0), workloads=(result, replace(result, workload="long", compiled=None)))
    text = re.sub(r"\s+", " ", "".join(read(records_of([Told(outcome)]))[1].text))
    assert "1.50× (1.25 to 1.75), 250 µs" in text
    assert "not measured" in text


def test_five_thousand_candidates_make_a_bounded_page() -> None:
    rng = random.Random(1)
    told = [
        faster(0.3 + rng.random() * (1 + n / 800), n, n - 1 if n else None, _cell(rng))
        if rng.random() < 0.7
        else Told(BuildFailed(f"x.cpp:{n}: error {n % 7}", "log " * 2000), parent=n - 1 if n else None)
        for n in range(5000)
    ]
    made = report(records_of(told))
    began = time.perf_counter()
    page = page_of(made)
    assert time.perf_counter() - began < 5.0
    assert len(page) < 600_000
    assert f"{5000 - MAX_ROWS} more. Shown are the improvements" in page
    assert "more steps between these two are left out." in page


def _cell(rng: random.Random) -> tuple[int, int, int]:
    return (rng.randrange(4), rng.randrange(4), rng.randrange(4))
