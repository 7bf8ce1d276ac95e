"""What compute-sanitizer says, read; the tool itself runs in tests/gpu."""

from __future__ import annotations

import pytest

from kforge.errors import InfraError
from kforge.eval.sanitize import FOUND, read

CLEAN = """========= COMPUTE-SANITIZER
========= ERROR SUMMARY: 0 errors
"""
DIRTY = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at f+0x110
=========     Access at 0x7f3 is out of bounds
=========
========= ERROR SUMMARY: 1 error
"""
RACE = """========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at f+0x90 and Read access at f+0xd0 [256 hazards]
=========
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""


ENDED = """========= COMPUTE-SANITIZER
========= Target application returned an error
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""


def test_a_run_that_the_device_ended_is_a_finding() -> None:
    found = read("racecheck", 1, ENDED)
    assert not found.clean
    assert found.findings == ("Target application returned an error",)


def test_a_clean_run_is_clean() -> None:
    found = read("memcheck", 0, CLEAN)
    assert found.clean
    assert found.findings == ()


def test_findings_are_told_in_the_tools_words() -> None:
    assert read("memcheck", FOUND, DIRTY).findings == ("Invalid __global__ read of size 4 bytes",)
    assert "Race reported" in read("racecheck", FOUND, RACE).findings[0]


@pytest.mark.parametrize(("code", "output"), [(0, "no such tool"), (1, CLEAN), (None, ""), (127, DIRTY)])
def test_a_tool_that_could_not_look_is_no_clean_run(code: int | None, output: str) -> None:
    with pytest.raises(InfraError, match="compute-sanitizer"):
        read("memcheck", code, output)
