"""Tests that need an NVIDIA GPU: marked ``gpu`` here, once for the folder, and skipped without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kforge.types import DeviceInfo
from kforge.workers.hardware import choose_device
from tests.gpu.opened import Opened

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU: torch.cuda.is_available() is False"))


@pytest.fixture(scope="session")
def device() -> DeviceInfo:
    return choose_device("cuda", "auto")


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest, device: DeviceInfo, cache: Path) -> Iterator[Opened]:
    """A pool for ``request.param``, a (task, size); pytest runs all tests of one pool together."""
    task, size = request.param
    pool = Opened(task, size, device, cache)
    yield pool
    pool.close()
