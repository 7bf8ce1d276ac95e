"""Downloading an archive within limits of time and size."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable

ARCHIVES = "https://codeload.github.com"
SILENCE_S = 60.0
"""How long a server may say nothing; ``max_s`` bounds one that drips."""
MAX_ARCHIVE_BYTES = 50_000_000
_PART_BYTES = 1 << 16

Fetch = Callable[[str], bytes]


class DownloadFailed(Exception):
    """What a ``Fetch`` raises; ``pull`` says what to do instead."""


def fetch_archive(path: str, base_url: str = ARCHIVES, max_s: float = 600.0) -> bytes:
    """Download ``base_url/path``.

    Raises:
        DownloadFailed: no connection, a refusal, a transfer that broke off, was too slow, or brought more
            bytes than an archive of tasks can have.
    """
    url = f"{base_url}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_S) as response:
            return _receive(response, url, time.monotonic() + max_s)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:  # time-outs, too
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DownloadFailed(f"Cannot download {url}: {reason}") from error


def _receive(response: http.client.HTTPResponse, url: str, deadline: float) -> bytes:
    announced = response.headers.get("Content-Length", "")
    expected = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 19 else None
    received = bytearray()
    while expected is None or len(received) < expected:
        if max(len(received), expected or 0) > MAX_ARCHIVE_BYTES:
            raise DownloadFailed(f"{url} is larger than {MAX_ARCHIVE_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise DownloadFailed(f"Cannot download {url}: too slow, {len(received):,} bytes so far")
        part = response.read1(_PART_BYTES)
        if not part:
            break
        received += part
    if expected is not None and len(received) < expected:
        raise DownloadFailed(f"{url} broke off after {len(received):,} of {expected:,} bytes")
    return bytes(received)
