"""Recorded landscapes from files: T4 results, and caches of Kernel Tuner. No file is trusted."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from kforge.errors import UsageError
from kforge.search.landscapes.landscape import Landscape

MAX_BYTES = 512 << 20  # unpacked
MAX_CONFIGURATIONS = 2_000_000
MAX_PARAMETERS = 64
# Kernel Tuner's older caches write a failure as this time.
FAILED_TIME = 1e20
_ENDINGS = re.compile(r"(\.T4|\.kt)?\.json(\.gz)?$", re.IGNORECASE)

Value = bool | int | float | str
_Names = Annotated[list[str], Field(min_length=1, max_length=MAX_PARAMETERS)]


class _Times(BaseModel):
    runtimes: list[float] | None = None


class _Measurement(BaseModel):
    name: str
    value: float | str | None = None


class _Result(BaseModel):
    """One configuration of a T4 file."""

    configuration: dict[str, Value] = Field(min_length=1, max_length=MAX_PARAMETERS)
    invalidity: str
    times: _Times = _Times()
    measurements: list[_Measurement] = []


class _Results(BaseModel):
    """A T4 file."""

    results: list[_Result] = Field(min_length=1, max_length=MAX_CONFIGURATIONS)


class _Cached(BaseModel, extra="allow"):
    """One configuration of a cache; its parameters are among the keys that are not named here."""

    time: float | str | None
    times: list[float] | None = None


class _Cache(BaseModel):
    """A cache of Kernel Tuner."""

    tune_params_keys: _Names
    cache: dict[str, _Cached] = Field(min_length=1, max_length=MAX_CONFIGURATIONS)


_Model = TypeVar("_Model", bound=BaseModel)
# A configuration, its mean (infinite where it failed), and its raw times.
_Row = tuple[Mapping[str, Value], float, list[float]]


def read_landscapes(directory: Path) -> tuple[Landscape, ...]:
    """Every landscape of a directory: its files ``*.json`` and ``*.json.gz``, by name.

    Raises:
        UsageError: there is none, one cannot be used, or two have the same name.
    """
    if not directory.is_dir():
        raise UsageError(f"--landscapes {directory} is not a directory.", _NEXT)
    paths = sorted(path for path in directory.iterdir() if _ENDINGS.search(path.name) and path.is_file())
    if not paths:
        raise UsageError(f"{directory} holds no file *.json or *.json.gz.", _NEXT)
    landscapes: dict[str, Landscape] = {}
    for path in paths:
        landscape = read_landscape(path)
        if landscape.name in landscapes:
            raise UsageError(
                f"{path} is a second landscape of the name {landscape.name}.", "remove or rename one of them"
            )
        landscapes[landscape.name] = landscape
    return tuple(landscapes.values())


_NEXT = "give a directory with T4 results files or caches of Kernel Tuner"


def read_landscape(path: Path) -> Landscape:
    """One landscape. Of a configuration that is recorded twice the first record counts.

    Raises:
        UsageError: the file cannot be read, is of neither format, or no strategy can be compared on it.
    """
    document = _document(path)
    if "results" in document:
        rows = _rows_of_results(path, _checked(path, _Results, document))
    elif "cache" in document:
        rows = _rows_of_cache(path, _checked(path, _Cache, document))
    else:
        raise _unusable(path, "has neither the key results (T4) nor the key cache (Kernel Tuner)")
    return _landscape(path, rows)


def _document(path: Path) -> dict[str, Any]:
    """The JSON object of a file, packed or not."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path} cannot be read: {error}.", "check its permissions, or fetch the file again"
        ) from error
    if len(data) > MAX_BYTES:
        raise _unusable(path, f"is larger than {MAX_BYTES >> 20} MiB unpacked")
    try:
        document = from_json(data)
    except ValueError as error:
        raise UsageError(
            f"{path} is not JSON: {error}.",
            "fetch the file again; a cache that Kernel Tuner did not close lacks its last two braces",
        ) from error
    if not isinstance(document, dict):
        raise _unusable(path, "is JSON and no object")
    return document


def _checked(path: Path, model: type[_Model], document: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise _unusable(path, f"is wrong at {where}: {first['msg']}") from error


def _rows_of_results(path: Path, document: _Results) -> list[_Row]:
    rows: list[_Row] = []
    for number, result in enumerate(document.results):
        mean = math.inf
        if result.invalidity == "correct":
            found = [m.value for m in result.measurements if m.name == "time"]
            if not found:
                raise _unusable(path, f"is wrong at results.{number}.measurements: none is called time")
            mean = _time(found[0])
        rows.append((result.configuration, mean, result.times.runtimes or []))
    return rows


def _rows_of_cache(path: Path, document: _Cache) -> list[_Row]:
    rows: list[_Row] = []
    for key, cached in document.cache.items():
        extra = cached.model_extra or {}
        configuration: dict[str, Value] = {}
        for name in document.tune_params_keys:
            value = extra.get(name)
            if not isinstance(value, bool | int | float | str):
                raise _unusable(path, f"is wrong at cache.{key[:100]}: no number or word for {name}")
            configuration[name] = value
        rows.append((configuration, _time(cached.time), cached.times or []))
    return rows


def _time(value: float | str | None) -> float:
    """A mean time; infinite where a word, or a time that is none, says that the configuration failed."""
    if value is None or isinstance(value, str) or not 0 < value < FAILED_TIME:
        return math.inf
    return value


def _landscape(path: Path, rows: list[_Row]) -> Landscape:
    names = list(rows[0][0])
    for number, (configuration, _, _) in enumerate(rows):
        if configuration.keys() != rows[0][0].keys():
            raise _unusable(path, f"has other parameters in configuration {number} than in the first")
    values = {name: _ordered({configuration[name] for configuration, _, _ in rows}) for name in names}
    varying = [name for name in names if len(values[name]) > 1]
    if math.prod(len(values[name]) for name in varying) >= 1 << 62:
        raise _unusable(path, "has a space of more than 2**62 configurations")
    index = [{value: place for place, value in enumerate(values[name])} for name in varying]
    first: dict[tuple[int, ...], _Row] = {}
    for row in rows:
        where = tuple(places[row[0][name]] for name, places in zip(varying, index, strict=True))
        first.setdefault(where, row)
    kept = list(first.values())
    if sum(mean < math.inf for _, mean, _ in kept) < 2:
        raise _unusable(path, "has fewer than two configurations that work")
    # A raw time that is none (0, not a number) is left out.
    raw = [
        [time for time in times if 0 < time < FAILED_TIME] or [mean] if mean < math.inf else [mean]
        for _, mean, times in kept
    ]
    return Landscape(
        name=_ENDINGS.sub("", path.name),
        parameters=tuple(varying),
        choices=tuple(len(values[name]) for name in varying),
        configurations=np.array(list(first), dtype=np.int64),
        means=np.array([mean for _, mean, _ in kept]),
        runtimes=np.array([time for times in raw for time in times]),
        starts=np.cumsum([0, *(len(times) for times in raw)], dtype=np.int64),
    )


def _ordered(values: set[Value]) -> list[Value]:
    """Numbers by size, then words by their letters."""
    numbers = [value for value in values if not isinstance(value, str)]
    return [*sorted(numbers), *sorted(value for value in values if isinstance(value, str))]


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} {why}.", "repair the file, or take it out of the directory")
