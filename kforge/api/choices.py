"""Words that a user chooses from, checked."""

from __future__ import annotations

from typing import Literal

from kforge.errors import UsageError
from kforge.types import Language, Track

SealedTrack = Literal["sealed", "pure"]


def checked_language(language: str) -> Language:
    """The language, or a usage error.

    Raises:
        UsageError: no such language.
    """
    if language == "sycl":
        return "sycl"
    if language == "cuda":
        return "cuda"
    raise UsageError(f"--language {language!r} is unknown.", "use --language sycl or --language cuda")


def checked_track(track: str) -> SealedTrack:
    """A track whose candidates kforge itself writes: sealed or pure.

    Raises:
        UsageError: no such track in this version, or the open one.
    """
    match track:
        case "sealed" | "pure":
            return track
        case "open":
            raise UsageError(
                "--track open is for files with a ModelNew that somebody published; a search writes sealed "
                "candidates.",
                "use --track sealed or --track pure; to measure such a file: "
                "kforge eval FILE --task TASK --track open",
            )
        case _:
            raise UsageError(
                f"--track {track!r} is not a track of this version.", "use --track sealed or --track pure"
            )


def checked_eval_track(track: str) -> Track:
    """A track that one candidate can be evaluated on.

    Raises:
        UsageError: no such track in this version.
    """
    match track:
        case "sealed" | "pure" | "open":
            return track
        case _:
            raise UsageError(
                f"--track {track!r} is not a track of this version.",
                "use --track sealed, --track pure or --track open",
            )
