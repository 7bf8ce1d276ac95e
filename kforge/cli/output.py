"""How every command speaks: data on stdout, progress and errors on stderr, JSON when asked."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from typing import Any

from kforge.errors import InfraError, KforgeError


class Interrupted(KforgeError):
    """Ctrl-C in a command that keeps nothing to go on with."""

    code = "interrupted"


def open_standard_streams() -> None:
    """Put /dev/null where the caller closed stdin, stdout or stderr.

    Else the next file that is opened, the store for one, would take the number of the closed stream.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, "r", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def bug(error: Exception) -> InfraError:
    """A mistake of kforge's own, as an error that names the place; KFORGE_DEBUG=1 shows the whole way."""
    if os.environ.get("KFORGE_DEBUG") == "1":
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return InfraError(
        f"This is a bug in kforge: {type(error).__name__}: {error}{place}.",
        "type it again with KFORGE_DEBUG=1 in the environment, and report what it shows",
    )


def print_json(document: Any) -> None:  # noqa: ANN401 - plain JSON data
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def report_error(error: KforgeError, as_json: bool) -> int:
    """Say what is wrong and what to type next. Returns the exit code."""
    # Either stream may lead nowhere (full disk, closed pipe); the exit code still speaks.
    if as_json:
        with contextlib.suppress(OSError):
            said = {"code": error.code, "message": error.message, "next": error.next_step}
            print_json({"error": said, **error.details})
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {error.message}\n  next: {error.next_step}\n")
        sys.stderr.flush()
    return error.exit_code
