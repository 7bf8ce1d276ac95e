"""Where kforge keeps things, and the defaults that ship inside the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kforge.errors import MissingPrerequisite


@dataclass(frozen=True, slots=True)
class Places:
    """Directories and the default store of one user.

    Attributes:
        cache: builds, shims; safe to delete.
        data: user tasks and the default store; not safe to delete.
        store_url: SQLAlchemy URL of the default store.
    """

    cache: Path
    data: Path
    store_url: str

    @property
    def user_tasks(self) -> Path:
        """Where ``kforge tasks add`` puts tasks."""
        return self.data / "tasks"

    @property
    def prices(self) -> Path:
        """Where a user's own price table may lie."""
        return self.data / "prices.toml"


def places(environment: Mapping[str, str] = os.environ) -> Places:
    """Directories from ``KFORGE_CACHE``, ``KFORGE_HOME`` and ``KFORGE_STORE``, else the XDG defaults.

    Raises:
        MissingPrerequisite: neither HOME nor the variables name a place.
    """
    home = environment.get("HOME")
    if home is None and not {"KFORGE_CACHE", "KFORGE_HOME"} <= environment.keys():
        raise MissingPrerequisite(
            "HOME is not set, so kforge has no place for its store and cache.",
            "export KFORGE_HOME=/some/dir KFORGE_CACHE=/some/other/dir",
        )
    base = Path(home or "/")
    cache = Path(environment.get("KFORGE_CACHE") or (environment.get("XDG_CACHE_HOME") or base / ".cache"))
    data = Path(
        environment.get("KFORGE_HOME") or (environment.get("XDG_DATA_HOME") or base / ".local" / "share")
    )
    cache = cache if environment.get("KFORGE_CACHE") else cache / "kforge"
    data = data if environment.get("KFORGE_HOME") else data / "kforge"
    store = environment.get("KFORGE_STORE") or f"sqlite:///{data / 'kforge.sqlite'}"
    return Places(cache=cache, data=data, store_url=store)


@dataclass(frozen=True, slots=True)
class RunDefaults:
    """What ``kforge evolve`` does when nothing is said."""

    size: str = "full"
    language: str = "sycl"
    models: tuple[str, ...] = ("offline",)
    evals: int = 24
    max_reply_tokens: int = 16_000
    seed: int = 0
    strategy: str = "default"


DEFAULTS = RunDefaults()
