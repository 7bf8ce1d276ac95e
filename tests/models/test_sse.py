"""Events out of bytes, however the network cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.search.models.sse import OversizeError, bounded, events


async def _chunks(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def read(*pieces: bytes, limit: int = 1000) -> list[bytes]:
    async def run() -> list[bytes]:
        return [event async for event in events(_chunks(list(pieces)), limit)]

    return asyncio.run(run())


def test_only_data_counts() -> None:
    stream = b": hi\n\nevent: x\nid: 3\ndata: one\nretry: 5\n\ndata:two\r\ndata: lines\r\n\r\ndata\n\nodd\n\n"
    assert read(stream) == [b"one", b"two\nlines", b""]


def test_what_the_end_cuts_off_is_dropped() -> None:
    assert read(b"data: one\n\ndata: tw") == [b"one"]
    assert read(b"data: one\n\ndata: two\n") == [b"one"]


@given(st.lists(st.binary(max_size=9).filter(lambda data: not set(data) & {10, 13}), max_size=6), st.data())
@settings(max_examples=50)
def test_any_cut_gives_the_same_events(datas: list[bytes], draw: st.DataObject) -> None:
    stream = b"".join(b"data: " + data + b"\n\n" for data in datas)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == datas


@pytest.mark.parametrize(
    "pieces", [[b"data: " + b"x" * 2000], [b"x" * 600] * 2, [b"data: " + b"x" * 600 + b"\n"] * 2]
)
def test_an_event_without_end_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(OversizeError):
        read(*pieces)


def test_a_reply_without_end_is_refused() -> None:
    async def run() -> list[bytes]:
        return [chunk async for chunk in bounded(_chunks([b"x" * 60] * 3), 150)]

    with pytest.raises(OversizeError, match="more than 150 bytes"):
        asyncio.run(run())


def test_many_pieces_of_a_long_line_take_linear_time() -> None:
    assert read(b"data: ", *[b"x"] * 100_000, b"\n\n", limit=200_000) == [b"x" * 100_000]
