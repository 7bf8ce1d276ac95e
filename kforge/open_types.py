"""The words of the open track as plain frozen data. Standard library only, as ``types``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kforge.types import DeviceInfo, Outcome, Precision, StageSeconds


@dataclass(frozen=True, slots=True)
class OpenSource:
    r"""A published answer: a Python file with ``ModelNew``.

    Attributes:
        text: the whole file, normalised to ``\n`` line ends; it is run unchanged.
        hash: sha256 of ``text``, hexadecimal.
        precision: of a module-level literal ``PRECISION``; "ieee" without one.
    """

    text: str
    hash: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class HostCpu:
    """This machine's processors, as torch uses them: the open track's device where there is no GPU."""

    name: str
    threads: int
    selector: str = "cpu"
    is_cpu: bool = True


OpenDevice = HostCpu | DeviceInfo


@dataclass(frozen=True, slots=True)
class OpenReport:
    """How an open candidate ended.

    Attributes:
        sandbox: layer to whether it was in force; empty where no process was started.
        missing: extension calls (JSON) that the candidate made and that were not built; the outcome then
            says nothing yet.
        seconds: check and bench.
    """

    outcome: Outcome
    sandbox: Mapping[str, bool]
    missing: tuple[str, ...]
    seconds: StageSeconds
