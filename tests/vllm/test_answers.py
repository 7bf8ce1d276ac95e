"""What the tiny model learns is right: every form builds, passes, and fills a cell of its own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.tiny_model.answers import BLOCKS, FORMS, WIDTHS, Choice, answer, candidate, random_answer
from kforge.eval.candidate import parse_candidate
from kforge.search.parse import parse_reply
from kforge.types import CandidateSource
from tests.cli.terminal import Terminal, environment


@pytest.mark.parametrize("language", ["sycl", "cuda"])
def test_every_answer_holds_a_candidate(language: str) -> None:
    rng = random.Random(1)
    for _ in range(50):
        read = parse_reply(random_answer(rng, language), parse_candidate)
        assert isinstance(read, CandidateSource)
        assert read.language == language


def test_the_answer_is_the_file_after_the_thoughts() -> None:
    choice = Choice("vector", BLOCKS[0], 64, WIDTHS[0])
    text = answer(choice, "sycl")
    assert text.startswith("<think>")
    assert text.endswith(f"</think>\n```python\n{candidate(choice, 'sycl')}```")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.sycl
def test_every_form_passes_and_has_a_cell(tmp_path: Path, cache: Path) -> None:
    kforge = Terminal(tmp_path, environment(tmp_path / "home", cache))
    cells = set()
    for form in FORMS:
        (tmp_path / "c.py").write_text(candidate(Choice(form, BLOCKS[1], 64, WIDTHS[0]), "sycl"))
        done = kforge("eval", "c.py", "--task", "kb/L1/19", "--size", "small", "--json")
        assert done.code == 0, done.out
        cells.add(str(done.document["measures"]))
    assert len(cells) == len(FORMS)
