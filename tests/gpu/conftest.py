"""Tests that need an NVIDIA GPU: marked ``gpu`` here, once for the folder, and skipped without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kforge.types import DeviceInfo
from kforge.workers.hardware import choose_device
from tests.gpu.opened import Opened, Pools

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder, and run all tests of one (task, size) together."""
    places = [index for index, item in enumerate(items) if HERE in item.path.parents]
    mine = sorted((items[index] for index in places), key=_pool_of)
    for index, item in zip(places, mine, strict=True):
        items[index] = item
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU: torch.cuda.is_available() is False"))


def _pool_of(item: pytest.Item) -> tuple[int, str]:
    """Small tasks first, then tests without a pool, full-size ones last."""
    called = getattr(item, "callspec", None)
    task, size = called.params.get("opened", ("", "none")) if called is not None else ("", "none")
    return {"small": 0, "none": 1, "full": 2}[size], task


@pytest.fixture(scope="session")
def device() -> DeviceInfo:
    return choose_device("cuda", "auto")


@pytest.fixture(scope="session")
def pools(device: DeviceInfo, cache: Path) -> Iterator[Pools]:
    found = Pools(device, cache)
    yield found
    found.close()


@pytest.fixture
def opened(request: pytest.FixtureRequest, pools: Pools) -> Opened:
    """The pool for ``request.param``, a (task, size); the test before may have left it open."""
    return pools.get(*request.param)
