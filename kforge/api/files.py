"""Files of a user: candidates are read, hostile or not, and the parser judges them; the cache is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kforge.errors import MissingPrerequisite, UsageError
from kforge.search.context import Given
from kforge.types import Language, ParseFailed

MAX_READ_BYTES = 5 << 20  # the open track takes 4 MiB
MAX_GIVEN = 64


def read_candidate(file: Path) -> str:
    """The text of a candidate file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if file.is_fifo() or file.is_socket():
            raise UsageError(f"{file} is a pipe, not a file.", "give the path of a candidate file")
        with file.open("rb") as opened:
            # Past the parser's limit there is nothing to learn from the rest of a large file.
            return opened.read(MAX_READ_BYTES).decode("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}.", "give the path of a candidate file"
        ) from error


def read_given(files: Sequence[Path], language: Language) -> tuple[Given, ...]:
    """The user's own kernels that a search is to start from.

    Raises:
        UsageError: one cannot be read, is no candidate, or is written in another language.
    """
    from kforge.eval.candidate import parse_candidate

    if len(files) > MAX_GIVEN:
        raise UsageError(f"--from names {len(files)} files; it takes {MAX_GIVEN}.", "give the best of them")
    found: list[Given] = []
    hashes: dict[str, Path] = {}
    for file in files:
        text = read_candidate(file)
        parsed = parse_candidate(text)
        if isinstance(parsed, ParseFailed):
            raise UsageError(
                f"--from {file} is no candidate: {parsed.reason}",
                f"kforge eval {file} --task TASK; docs/candidate.md says what a candidate is",
            )
        if parsed.language != language:
            raise UsageError(
                f"--from {file} is written in {parsed.language}; this run is for {language}.",
                f"use --language {parsed.language}",
            )
        if parsed.hash in hashes:
            raise UsageError(f"--from {file} holds the same kernel as {hashes[parsed.hash]}.", "name it once")
        hashes[parsed.hash] = file
        found.append(Given(file.name, text))
    return tuple(found)


def writable(cache: Path) -> Path:
    """The cache directory, made if it is missing.

    Raises:
        MissingPrerequisite: it cannot be made or written.
    """
    next_step = "export KFORGE_CACHE=/a/writable/directory"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The cache directory {cache} cannot be made: {error.strerror}."
        raise MissingPrerequisite(message, next_step) from error
    if not os.access(cache, os.W_OK | os.X_OK):
        raise MissingPrerequisite(f"The cache directory {cache} is not writable.", next_step)
    return cache
