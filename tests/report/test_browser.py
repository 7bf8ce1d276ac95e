"""The page in a real browser: nothing overflows, nothing is fetched, everything can be read and printed.

``KFORGE_ARTIFACTS`` names a directory that keeps the pictures.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kforge.report.page import page_of
from kforge.types import BuildFailed
from tests.evolve.world import candidate_text
from tests.report.runs import Told, faster, prose, records_of, report, run_row

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WIDTHS = (360, 768, 1440)
LONG = "a_name_that_never_ends_" * 12
SPEEDUPS = (0.3, 0.8, 1.0, 1.2, 1.7, 3.0, 6.0, 12.0)

# The smallest contrast between the text of a filled cell and its ground, over all of them (WCAG 2).
CONTRAST = """() => {
  const light = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  return [...document.querySelectorAll('.grid td:not(.empty)')].map(cell => {
    const style = getComputedStyle(cell);
    const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install '.[browser]'")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # Root, as in a container, has no sandbox of Chromium's; the page holds no script anyway.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=program, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that fills the page: every colour, long names, long lines, failures, a lineage."""
    told = [prose(f"openai: {LONG}")]
    told += [Told(BuildFailed(f"{LONG}: error", "x" * 3000), kind="repair", parent=0, source="y" * 3000)]
    told += [
        faster(speedup, number, number + 1, (number % 4, number // 4, number % 3))
        for number, speedup in enumerate(SPEEDUPS)
    ]
    told[-1] = replace(told[-1], source=candidate_text("z") + "# " + "wide " * 200)
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page_of(report(records_of(told, run_row(task_id=f"./{LONG}.py")))), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("KFORGE_ARTIFACTS")
    directory = Path(kept) if kept else tmp_path_factory.mktemp("pictures")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_looks_right(browser: Browser, page_file: Path, pictures: Path, width: int, scheme: str) -> None:
    with browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
    ) as context:
        page = context.new_page()
        said, asked = _watch(page)
        page.goto(page_file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, room = page.evaluate(sizes)
        assert wide <= room == width
        contrasts = page.evaluate(CONTRAST)
        assert len(contrasts) == len(SPEEDUPS)
        assert min(contrasts) >= 4.5, contrasts
        assert page.locator("svg.curve:visible").count() == 1
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
        page.screenshot(path=pictures / f"report-{width}-{scheme}.png", full_page=True)
        assert said == []
        assert asked == [page_file.as_uri()]


def _watch(page: Page) -> tuple[list[str], list[str]]:
    """What the page says to the console, and what it asks the network for, from now on."""
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    return said, asked


def test_prints_on_white_with_everything_open(browser: Browser, page_file: Path, pictures: Path) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        # Closed on the screen, open on paper.
        assert page.locator("details:not([open]) ul.columns li").first.is_visible()
        printed = page.pdf(path=pictures / "report.pdf", format="A4", print_background=True)
        assert printed.startswith(b"%PDF-")
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 1
