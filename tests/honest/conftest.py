"""The CPU device and one build cache for the folder, as in tests/eval."""

from __future__ import annotations

from tests.eval.conftest import cache, device

__all__ = ["cache", "device"]
