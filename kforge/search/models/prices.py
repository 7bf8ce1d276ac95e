"""What models cost: the table that ships, and the user's own on top of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from kforge.errors import UsageError
from kforge.search.models.wire import Spend

_MILLION = 1_000_000
# How dated snapshots of a model are told from its relatives: gpt-5-2025-08-07 is gpt-5, gpt-5-pro is not.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)")
_Dollars = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_EXAMPLE = '[models."MODEL"] with the lines `input = 1.0` and `output = 5.0`: dollars per million tokens'


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens.

    Attributes:
        cached_input: for prompt tokens read from the server's cache; None: as ``input``.
        cache_write: for prompt tokens written to it; None: as ``input``.
        dated: when ``source`` said so.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    input: _Dollars
    output: _Dollars
    cached_input: _Dollars | None = None
    cache_write: _Dollars | None = None
    dated: date | None = None
    source: str | None = None

    def usd(self, spend: Spend) -> float:
        """What tokens cost in dollars."""
        fresh = spend.prompt_tokens - spend.cached_tokens - spend.written_tokens
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        parts = (
            fresh * self.input,
            spend.cached_tokens * cached,
            spend.written_tokens * written,
            spend.completion_tokens * self.output,
        )
        return sum(parts) / _MILLION

    @property
    def dearest_input(self) -> float:
        """The most that a prompt token can cost."""
        return max(self.input, self.cached_input or 0.0, self.cache_write or 0.0)


FREE = Price(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _File:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    models: dict[str, Price]


_FILE: TypeAdapter[_File] = TypeAdapter(_File)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model."""

    prices: Mapping[str, Price]

    @classmethod
    def load(cls, user_file: Path | None) -> PriceTable:
        """The shipped table, overridden and extended model by model by a user's file.

        Raises:
            UsageError: the user's file cannot be read or is malformed; names line or field.
        """
        shipped = files("kforge.search.models").joinpath("prices.toml").read_text(encoding="utf-8")
        prices = _parse(shipped, "prices.toml of this version of kforge")
        if user_file is not None:
            prices |= _parse(_read(user_file), str(user_file))
        return cls(prices)

    def price(self, model: str) -> Price | None:
        """The price of a model, or of the model whose dated snapshot it is; None when neither is listed."""
        found = self.prices.get(model)
        if found is not None:
            return found
        bases = [name for name in self.prices if model.startswith(name)]
        bases = [name for name in bases if _SNAPSHOT.fullmatch(model[len(name) :])]
        return self.prices[max(bases, key=len)] if bases else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The price file {path} cannot be read: {cause}.", f"ls -l {path}") from error


def _parse(text: str, name: str) -> dict[str, Price]:
    try:
        return _FILE.validate_python(tomllib.loads(text)).models
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The price file {name} is not TOML: {error}.", f"write {_EXAMPLE}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"The price file {name} is wrong at {where}: {first['msg']}.", f"write {_EXAMPLE}"
        ) from error
