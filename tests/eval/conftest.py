"""The CPU device, one build cache for the folder, and device code wrapped into candidates."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kforge.eval.compile import CachedBuild, cached_build
from kforge.types import BuildFailed, CandidateSource, DeviceInfo, InfraFailed, Scalar, TimedOut
from kforge.workers.hardware import choose_device

Built = CachedBuild | BuildFailed | TimedOut | InfraFailed
Compile = Callable[..., Built]


@pytest.fixture(scope="session")
def device() -> DeviceInfo:
    return choose_device("sycl", "cpu")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``KFORGE_TEST_CACHE`` keeps builds between runs of the tests."""
    kept = os.environ.get("KFORGE_TEST_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def build(device: DeviceInfo, cache: Path) -> Compile:
    """Compile device code, in the folder's cache unless another is given."""

    def build(code: str, tune: Mapping[str, Scalar] | None = None, where: Path = cache) -> Built:
        source = CandidateSource(text=code, hash="", language="sycl", precision="ieee", device_code=code)
        return asyncio.run(cached_build(source, tune or {}, device, where))

    return build
