"""The public task sets that kforge can pull: where they are, at which revision, with which files."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

SourceName = Literal["kernelbench", "robust-kbench"]
SOURCES: tuple[SourceName, ...] = ("kernelbench", "robust-kbench")
UNPINNED = "unpinned"


@dataclass(frozen=True, slots=True)
class Source:
    """A task set at one pinned revision.

    Attributes:
        repository: OWNER/NAME on GitHub.
        revision: full commit hash.
        folder: folder of the repository that holds every file.
        files: path inside the repository to SHA-256 of the file, hexadecimal.
    """

    name: SourceName
    repository: str
    revision: str
    folder: str
    files: Mapping[str, str]

    @property
    def directory(self) -> str:
        """Name of the directory that holds the pinned files."""
        return f"{self.name}-{self.revision[:12]}"

    @property
    def unpinned_directory(self) -> str:
        """Name of the directory that holds files of another revision, taken with ``--unpinned``."""
        return f"{self.name}-{UNPINNED}"

    @property
    def archive_path(self) -> str:
        """Path of the revision's archive on codeload.github.com."""
        return f"{self.repository}/tar.gz/{self.revision}"

    def differing(self, found: Mapping[str, bytes]) -> list[str]:
        """The pinned files that are missing from ``found`` or have another content, with which of the two."""
        wrong = []
        for path, digest in self.files.items():
            if path not in found:
                wrong.append(f"{path} (missing)")
            elif hashlib.sha256(found[path]).hexdigest() != digest:
                wrong.append(f"{path} (other content)")
        return wrong


def holds(file: Path, digest: str) -> bool:
    """Whether the file is there and has this SHA-256."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == digest
    except OSError:
        return False


@functools.cache
def source(name: SourceName) -> Source:
    """The pinned task set of this name; its list of checksums ships inside the package."""
    text = (Path(str(files("kforge.data.tasks"))) / f"{name}.json").read_text(encoding="utf-8")
    pinned = json.loads(text)
    paths: dict[str, str] = pinned["files"]
    folder = next(iter(paths)).split("/")[0]
    return Source(name, pinned["repository"], pinned["revision"], folder, paths)
