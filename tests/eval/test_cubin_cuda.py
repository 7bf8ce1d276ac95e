"""Readers of machine code against truncated, damaged and random bytes, and against odd disassemblies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kforge.eval import cubin, sass
from kforge.eval.cubin import Cubin
from tests.eval.cuda_code import kernel, machine

pytestmark = pytest.mark.cuda
CODE = kernel("const float* x, float* y, int n", "for (int i = 0; i < n; ++i) y[i] = x[i] + 1.0f;")
SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def image(cache: Path) -> bytes:
    return machine(CODE, cache).image


def parsed(data: bytes) -> Cubin | None:
    try:
        return cubin.parse(data)
    except ValueError:
        return None


def test_every_truncation_is_told(image: bytes) -> None:
    whole = cubin.parse(image)
    for end in range(0, len(image), 7):
        found = parsed(image[:end])
        assert found is None or found == whole  # what lies behind the last section read does not matter


@SETTINGS
@given(data=st.binary(max_size=4096))
def test_random_bytes_are_no_cubin(data: bytes) -> None:
    assert parsed(data) is None
    parsed(b"\x7fELF\x02" + data)


@SETTINGS
@given(changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=24))
def test_damage_is_a_value_error_or_a_reading(image: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(image)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    parsed(bytes(damaged))


@SETTINGS
@given(at=st.integers(0, 63), word=st.integers(0, 2**64 - 1))
def test_headers_that_point_anywhere(image: bytes, at: int, word: int) -> None:
    parsed(image[:at] + word.to_bytes(8, "little") + image[at + 8 :])


@SETTINGS
@given(text=st.text(max_size=2000))
def test_any_text_is_read_as_a_disassembly(text: str) -> None:
    sass.kernels_of(text)
    sass.kernels_of(".section .text.f,\n" + text)


def test_loops_are_stretches_that_end_in_a_jump_back() -> None:
    text = """\t.section\t.text.f,"ax",@progbits
.text.f:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDG.E R2, desc[UR4][R2.64] ;
.L_x_0:
        /*0020*/              @!P0 FADD R3, R2, R3 ;
        /*0030*/               @P1 BRA `(.L_x_0) ;
        /*0040*/               @P2 BRA `(.L_x_1) ;
        /*0050*/                   EXIT ;
.L_x_2:
        /*0060*/                   BRA `(.L_x_2);
"""
    found = sass.kernels_of(text)["f"]
    assert [placed.instruction.name for placed in found] == [
        "LDC", "LDG", "FADD", "BRA", "BRA", "EXIT", "BRA",
    ]  # fmt: skip
    assert [placed.depth for placed in found] == [0, 1, 2, 2, 1, 0, 0]
