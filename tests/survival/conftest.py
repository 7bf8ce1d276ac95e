"""One pool for the folder's tests: opening one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.survival.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Scene]:
    opened = Scene(tmp_path_factory.mktemp("scene"), cache)
    yield opened
    opened.close()
