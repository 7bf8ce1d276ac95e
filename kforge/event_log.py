"""Every step of a run as a line of JSON, for whoever wants to follow or to draw it.

One object a line: ``at`` (UTC, ISO 8601), ``run``, ``event`` (the event's name in snake_case), and its fields
as docs/reading-a-report.md lists them. The status line is fed with the same events.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from kforge.clock import Clock
from kforge.codec import to_dict
from kforge.errors import UsageError
from kforge.search.events import Event

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


class EventLog:
    """Appends to a file; a session that goes on with a run goes on with its file.

    A file that can no longer be written is said once and left: a search that is paid for does not end because
    nobody can watch it.
    """

    def __init__(self, path: Path, clock: Clock, run: str, complaints: TextIO) -> None:
        """Open the file.

        Args:
            path: made if it is missing.
            clock: for ``at``.
            run: the run's name.
            complaints: where it is said that the file can no longer be written.

        Raises:
            UsageError: it cannot be opened for writing.
        """
        self._path, self._clock, self._run, self._complaints = path, clock, run, complaints
        if path.is_fifo():
            raise UsageError(f"--events {path} is a pipe: it would wait for a reader.", "name a file")
        try:
            self._file: TextIO | None = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise UsageError(
                f"--events {path} cannot be written: {error.strerror}.", "name a file in a writable directory"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as failed:
                self._complain(failed)

    def note(self, event: Event) -> None:
        """Write one line."""
        if self._file is None:
            return
        name = _WORDS.sub("_", type(event).__name__).lower()
        at = self._clock.now().isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "run": self._run, "event": name, **to_dict(event)}, ensure_ascii=True)
        try:
            self._file.write(line + "\n")
        except OSError as error:
            self._complain(error)
            self._file = None

    def _complain(self, error: OSError) -> None:
        self._complaints.write(f"--events {self._path}: {error.strerror}; the run goes on without it\n")
