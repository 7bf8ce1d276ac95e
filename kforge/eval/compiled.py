"""What a builder hands over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled module.

    Attributes:
        module: the executable module for the device.
        intermediate: what facts are read from (SYCL: the object SYCLBIN with its SPIR-V).
        log: warnings of the compiler.
    """

    module: bytes
    intermediate: bytes
    log: str
