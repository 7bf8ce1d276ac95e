"""One file, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
from pathlib import Path

from kforge.errors import InfraError, UsageError

_ANOTHER = "choose another place with --html FILE"


def write_page(path: Path, text: str) -> int:
    """Write ``text`` to ``path``, replacing a file that is there. Returns its size in bytes.

    Raises:
        UsageError: there can be no such file: no directory, no permission, or something else has the name.
        InfraError: the disk is full or broken.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file that a report could replace.", _ANOTHER)
    if not path.parent.is_dir():
        raise UsageError(f"There is no directory {path.parent}.", f"mkdir -p {shlex.quote(str(path.parent))}")
    content = text.encode("utf-8", "replace")
    # Beside its place: a rename is only atomic within one file system.
    draft = path.parent / f".{path.name[:100]}.{secrets.token_hex(8)}.tmp"
    try:
        with draft.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(path)
    except PermissionError as error:
        raise UsageError(f"{path.parent} may not be written by this user.", _ANOTHER) from error
    except OSError as error:
        raise InfraError(
            f"{path} cannot be written: {error.strerror}.", f"make room, or {_ANOTHER}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()  # gone already, unless something went wrong
    return len(content)
