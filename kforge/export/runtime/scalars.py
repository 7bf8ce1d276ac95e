"""Scalars as their kernels' parameters hold them."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from typing import Any

import torch

_TYPES: Mapping[str, Any] = {
    "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64,
    "f32": ctypes.c_float, "f64": ctypes.c_double, "b8": ctypes.c_bool,
}  # fmt: skip


def scalar_bytes(kind: str, value: bool | int | float) -> bytes:
    """The bytes of a scalar of one of the plan's types."""
    if kind == "f16":
        return struct.pack("<e", value)
    if kind == "bf16":
        word = int(torch.tensor(value, dtype=torch.bfloat16).view(torch.int16))
        return word.to_bytes(2, "little", signed=True)
    return bytes(_TYPES[kind](value))
