"""compute-sanitizer over real candidates: what values do not show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from kforge.errors import MissingPrerequisite
from kforge.eval.sanitize import Tool, sanitize, sanitizer
from kforge.types import DeviceInfo
from tests.gpu.opened import candidate, from_file
from tests.gpu.test_module_image import TEXT
from tests.gpu.weakened import CudaReferee

RACY = "__shared__ float s[256]; s[threadIdx.x] = v; y[i] = y[i] + 0.0f * s[(threadIdx.x + 33) % 256];"
WRONG: dict[str, tuple[Tool, str, str]] = {
    "a read behind its input": (
        "memcheck",
        "if (x[n + (i & 3)] == 123456.0f) y[i] = 1.0f;",
        "read of size 4",
    ),
    "a race in shared memory": ("racecheck", RACY, "Race reported"),
}


@pytest.fixture(scope="module")
def referee(device: DeviceInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaReferee]:
    try:
        sanitizer()
    except MissingPrerequisite as missing:
        pytest.skip(str(missing))
    made = CudaReferee("kb/L1/19", "small", device, tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


@pytest.mark.parametrize("name", WRONG)
def test_what_values_do_not_show_is_found(referee: CudaReferee, name: str) -> None:
    tool, body, words = WRONG[name]
    source = candidate(TEXT.format(declared="", body=body))
    job, values = referee.sanitizer_job(source)
    (found,) = asyncio.run(sanitize(job, values, [tool]))
    assert not found.clean
    assert any(words in line for line in found.findings), json.dumps(found.findings)


def test_an_honest_candidate_is_clean(referee: CudaReferee) -> None:
    job, values = referee.sanitizer_job(from_file("relu_float4"))
    assert [found.findings for found in asyncio.run(sanitize(job, values)) if not found.clean] == []
