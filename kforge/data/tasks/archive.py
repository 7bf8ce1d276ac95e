"""Reading a downloaded archive: hostile until its files' checksums fit, so nothing of it touches the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection

MAX_UNPACKED_BYTES = 100_000_000
"""Twenty times what the task sets' repositories hold, and little enough to fit in any memory."""


class BadArchive(Exception):
    """The bytes are no gzipped tar, or one that no honest server sends."""


def read_archive(archive: bytes, wanted: Collection[str], max_file_bytes: int) -> dict[str, bytes]:
    """The wanted files out of a gzipped tar whose members lie below one folder.

    Nothing is extracted: only regular members whose path is a wanted one are read, into memory, so links,
    devices, absolute paths and ``..`` have no effect. Larger members are skipped.

    Args:
        archive: the bytes as they came.
        wanted: paths below the folder that every member of the archive starts with.
        max_file_bytes: members larger than this are left out.

    Raises:
        BadArchive: it is no archive, is cut off, or unpacks to more than ``MAX_UNPACKED_BYTES``.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=_Unpacked(archive), mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                # A header may claim any size, and tarfile would step through all of it, even past the end.
                if tar.offset > MAX_UNPACKED_BYTES:
                    raise _too_large()
                path = member.name.partition("/")[2]
                if member.isreg() and path in wanted and member.size <= max_file_bytes:
                    stream = tar.extractfile(member)
                    found[path] = stream.read() if stream is not None else b""
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise BadArchive(str(error) or "it ends too early") from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise BadArchive(f"its headers are malformed ({error})") from error  # tarfile lets these through
    return found


class _Unpacked:
    """The tar inside the gzip, as far as ``MAX_UNPACKED_BYTES``: tarfile itself would inflate without end."""

    def __init__(self, archive: bytes) -> None:
        self._stream = gzip.GzipFile(fileobj=io.BytesIO(archive))
        self._read = 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``.

        Raises:
            BadArchive: there were too many.
        """
        part = self._stream.read(size)
        self._read += len(part)
        if self._read > MAX_UNPACKED_BYTES:
            raise _too_large()
        return part


def _too_large() -> BadArchive:
    return BadArchive(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
