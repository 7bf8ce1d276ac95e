"""What the open track's verifier is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kforge.eval.open.extension_calls import ExtensionCall
from kforge.eval.open.source import OpenSource
from kforge.types import Outcome


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One open candidate to be measured.

    Attributes:
        extensions: digest of an extension call to the path of its shared object.
        require_sandbox: refuse to run it where a layer of the sandbox is missing.
    """

    source: OpenSource
    extensions: Mapping[str, str]
    require_sandbox: bool


@dataclass(frozen=True, slots=True)
class OpenMeasured:
    """How it ended.

    Attributes:
        outcome: None while extensions are missing: build them and ask again.
        layers: of the sandbox it ran in, by name; empty where none was started.
        missing: extension calls that nothing was built for.
    """

    outcome: Outcome | None
    layers: Mapping[str, bool]
    missing: tuple[ExtensionCall, ...] = ()
