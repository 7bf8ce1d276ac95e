"""Frozen dataclasses to JSON and back, validated. Hostile JSON raises ``ValueError`` (pydantic's)."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - a type form, unions included
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_json(value: object, kind: Any = None) -> str:  # noqa: ANN401
    """Serialise ``value`` as compact JSON. ``kind`` is needed for unions, else the value's own class."""
    adapter = _adapter(kind if kind is not None else type(value))
    return adapter.dump_json(value).decode()


def from_json(kind: type[T], text: str | bytes) -> T:
    """Parse and validate JSON text as ``kind``.

    Raises:
        ValueError: the text is not JSON or does not have the shape of ``kind``.
    """
    result: T = _adapter(kind).validate_json(text)
    return result


def to_dict(value: object, kind: Any = None) -> Any:  # noqa: ANN401
    """Serialise ``value`` to plain Python data that ``json.dumps`` takes."""
    adapter = _adapter(kind if kind is not None else type(value))
    return adapter.dump_python(value, mode="json")
