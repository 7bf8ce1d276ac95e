"""In the candidate's process: ``load_inline`` and ``load`` hand out what was built, and never compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kforge.eval.open.extension_calls import ExtensionCall


class ExtensionMissing(BaseException):  # noqa: N818 - a request, not an error; ``except Exception`` shall not eat it
    """The candidate asks for an extension that was not found in the build stage."""

    def __init__(self, call: ExtensionCall) -> None:
        super().__init__(f"extension {call.name} has not been built yet")
        self.call = call


@dataclass(slots=True)
class Installed:
    """What was installed, and the calls met since that nothing was built for.

    A candidate may swallow ``ExtensionMissing`` with a bare ``except``, so the process looks here after the
    module was loaded, after the model was made and after every call.
    """

    missing: list[ExtensionCall] = field(default_factory=list)


def install(extensions: Mapping[str, str]) -> Installed:
    """Replace ``load_inline`` and ``load`` of ``torch.utils.cpp_extension`` in this process.

    Args:
        extensions: ``ExtensionsBuilt.paths()``.
    """
    raise NotImplementedError
