"""Words that a user chooses from, checked."""

from __future__ import annotations

from kforge.errors import UsageError
from kforge.types import Language, Track


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


def checked_track(track: str) -> Track:
    """The track, or a usage error naming those that exist.

    Raises:
        UsageError: no such track in this version.
    """
    if track == "sealed":
        return "sealed"
    if track == "pure":
        return "pure"
    raise UsageError(
        f"--track {track!r} is not a track of this version.", "use --track sealed or --track pure"
    )
