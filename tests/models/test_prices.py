"""The shipped table, a user's own, and what tokens cost."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from kforge.errors import UsageError
from kforge.search.models.prices import Price, PriceTable
from kforge.search.models.wire import Spend


def test_every_shipped_price_is_dated_and_sourced() -> None:
    table = PriceTable.load(None)
    assert len(table.prices) > 15
    for name, price in table.prices.items():
        assert price.dated is not None, name
        assert date(2026, 1, 1) <= price.dated <= date(2026, 11, 25), name
        assert re.match(r"https://\S+$", price.source or ""), name
        assert 0 < price.input < price.output, name
        assert (price.cached_input or 0) < price.input <= (price.cache_write or price.input), name


@pytest.mark.parametrize(
    ("model", "priced_as"),
    [
        ("gpt-5-mini", "gpt-5-mini"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-5-latest", "gpt-5"),
        ("gpt-5-0613", "gpt-5"),
        ("gpt-5-pro", None),
        ("gpt-5-pro-2025-08-07", None),
        ("gpt-50", None),
        ("ft:gpt-5:me", None),
        ("", None),
    ],
)
def test_dated_snapshots_cost_what_their_model_costs(model: str, priced_as: str | None) -> None:
    table = PriceTable.load(None)
    assert table.price(model) == (None if priced_as is None else table.prices[priced_as])


def test_the_longest_base_wins() -> None:
    table = PriceTable({"m": Price(1, 1), "m-2026-01-01": Price(2, 2), "m-2026": Price(3, 3)})
    assert table.price("m-2026-01-01") == Price(2, 2)
    assert table.price("m-2026-0101") == Price(3, 3)


def test_a_users_file_overrides_and_adds(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[models."gpt-5"]\ninput = 1\noutput = 2.5\n[models."org/mine"]\ninput = 0\noutput = 0\n')
    table, shipped = PriceTable.load(file), PriceTable.load(None)
    assert table.price("gpt-5") == Price(1.0, 2.5)
    assert table.price("org/mine") == Price(0.0, 0.0)
    assert table.price("gpt-5-mini") == shipped.price("gpt-5-mini")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[models."m"\ninput = 1', "line 1"),
        ('[models."m"]\ninput = \noutput = 1', "line 2"),
        ('[models."m"]\ninput = 1', "models.m.output: Field required"),
        ('[models."m"]\ninput = -1\noutput = 1', "models.m.input"),
        ('[models."m"]\ninput = nan\noutput = 1', "models.m.input"),
        ('[models."m"]\ninput = 1\noutput = inf', "models.m.output"),
        ('[models."m"]\ninput = "lots"\noutput = 1', "models.m.input"),
        ('[models."m"]\ninput = 1\noutput = 1\ncashed_input = 1', "models.m.cashed_input"),
        ('[models."m"]\ninput = 1\noutput = 1\ndated = "soon"', "models.m.dated"),
        ("[model.m]\ninput = 1", "models: Field required"),
        ("models = 7", "models"),
        ("", "models: Field required"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        PriceTable.load(file)
    assert str(file) in caught.value.message
    assert words in caught.value.message
    assert "[models." in caught.value.next_step


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        PriceTable.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        PriceTable.load(tmp_path / "bytes.toml")


def test_what_tokens_cost() -> None:
    spend = Spend(1_000_000, 400_000, 100_000, 10_000)
    assert Price(2.0, 10.0, 0.2, 2.5).usd(spend) == pytest.approx(0.5 * 2 + 0.4 * 0.2 + 0.1 * 2.5 + 0.01 * 10)
    assert Price(2.0, 10.0).usd(spend) == pytest.approx(2.0 + 0.1)
    assert Price(2.0, 10.0, 0.2, 2.5).dearest_input == 2.5
