"""How every command speaks: data on stdout, progress and errors on stderr, JSON when asked."""

from __future__ import annotations

import json
import sys
from typing import Any

from kforge.errors import KforgeError


def print_json(document: Any) -> None:  # noqa: ANN401 - plain JSON data
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def report_error(error: KforgeError, as_json: bool) -> int:
    """Say what is wrong and what to type next. Returns the exit code."""
    if as_json:
        print_json({"error": {"code": error.code, "message": error.message, "next": error.next_step}})
    sys.stderr.write(f"error: {error.message}\n  next: {error.next_step}\n")
    return error.exit_code
