"""In the candidate's process: ``load_inline`` and ``load`` hand out what was built, and never compile."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import NoReturn

from kforge.eval.open.extension_calls import ExtensionCall, files_call, inline_call

# Other ways to build from Python; they compile by distutils, which this track does not offer.
_NOT_OFFERED = ("CUDAExtension", "CppExtension", "SyclExtension", "BuildExtension")


class ExtensionMissing(BaseException):
    """The candidate asks for an extension that was not found in the build stage.

    A request, not an error: no ``Exception``, so that ``except Exception`` does not eat it.
    """

    def __init__(self, call: ExtensionCall) -> None:
        super().__init__(f"extension {call.name} has not been built yet")
        self.call = call


@dataclass(slots=True)
class Installed:
    """The extensions of this process.

    A candidate may swallow ``ExtensionMissing`` with a bare ``except``, so the process looks at ``missing``
    after the module was loaded, after the model was made and after every call.

    Attributes:
        extensions: digest of a call to path of its shared object.
        missing: calls met that nothing was built for, in the order met.
        loaded: modules by digest: the same call gets the same module, as with torch's own ``load_inline``.
    """

    extensions: Mapping[str, str]
    missing: list[ExtensionCall] = field(default_factory=list)
    loaded: dict[str, object] = field(default_factory=dict)

    def find(self, call: ExtensionCall) -> object:
        """The module of a call.

        Raises:
            ExtensionMissing: it was not built.
        """
        digest = call.digest
        if digest in self.loaded:
            return self.loaded[digest]
        path = self.extensions.get(digest)
        if path is None:
            self.missing.append(call)
            raise ExtensionMissing(call)
        self.loaded[digest] = _load(call, path)
        return self.loaded[digest]


def install(extensions: Mapping[str, str]) -> Installed:
    """Replace ``load_inline`` and ``load`` of ``torch.utils.cpp_extension`` in this process.

    Call it before any of the candidate's code, and before files are closed off: torch is imported here.

    Args:
        extensions: ``ExtensionsBuilt.paths()``.
    """
    from torch.utils import cpp_extension

    installed = Installed(dict(extensions))
    replace_builders(
        cpp_extension,
        lambda *arguments, **named: installed.find(inline_call(*arguments, **named)),
        lambda *arguments, **named: installed.find(files_call(*arguments, **named)),
    )
    return installed


def replace_builders(
    module: ModuleType, load_inline: Callable[..., object], load: Callable[..., object]
) -> None:
    """Put these two in place of torch's, and refuse the other ways to build."""
    setattr(module, "load_inline", load_inline)  # noqa: B010 - mypy knows torch's signature
    setattr(module, "load", load)  # noqa: B010
    for name in _NOT_OFFERED:
        setattr(module, name, _refusal(name))


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError(f"torch.utils.cpp_extension.{name} is not offered here; use load_inline or load")

    return refuse


def _load(call: ExtensionCall, path: str) -> object:
    """Import a shared object under the asked name, or load it for its operators."""
    if not call.python_module:
        import torch

        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
        return path
    spec = importlib.util.spec_from_file_location(call.name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no extension module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.setdefault(call.name, module)
    return module
