"""Server-sent events: the data of each, from the bytes of a response, within limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

MAX_EVENT_BYTES = 32_000_000
MAX_REPLY_BYTES = 256_000_000  # about 300 bytes carry one token in a stream


class OversizeError(Exception):
    """A server sent more than any reply can need."""


async def bounded(chunks: AsyncIterator[bytes], limit: int = MAX_REPLY_BYTES) -> AsyncIterator[bytes]:
    """The same chunks, as long as they stay within the limit.

    Raises:
        OversizeError: they do not.
    """
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise OversizeError(f"more than {limit} bytes came")
        yield chunk


async def events(chunks: AsyncIterator[bytes], limit: int = MAX_EVENT_BYTES) -> AsyncGenerator[bytes]:
    """The data of every event; comments, names, ids and unknown fields are passed over.

    An event that the end of the stream cuts off is dropped, as the standard says.

    Raises:
        OversizeError: an event is larger than the limit.
    """
    data: list[bytes] = []
    size = 0
    async for line in _lines(chunks, limit):
        if not line:
            if data:
                yield b"\n".join(data)
            data, size = [], 0
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
            size += len(value)
            if size > limit:
                raise OversizeError(f"one event has more than {limit} bytes")


async def _lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > limit:
            raise OversizeError(f"one line has more than {limit} bytes")
        for other in others:
            yield b"".join(parts).removesuffix(b"\r")
            parts, size = [other], len(other)
