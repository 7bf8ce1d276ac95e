"""Runs a candidate's module level to see which extensions it asks for: ``python -I -B CHILD ROOT < text``.

A throw-away process: no GPU, no network, its own scratch directory. ``load_inline`` and ``load`` are replaced
by recorders that hand out a stand-in. Every call is written to the result descriptor at once, one JSON line
each, so that what comes after it (an endless loop, an exit, a crash) loses nothing.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class StandIn(types.ModuleType):
    """What a recorder returns: any attribute exists, none can be called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        """A function that refuses."""
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> NoReturn:
            raise RuntimeError(f"{self.__name__}.{name} is not built yet")

        return refuse


def main() -> None:
    """Read the candidate, install recorders, confine this process, run the module level."""
    sys.path.insert(0, sys.argv[1])
    text = sys.stdin.read()
    from torch.utils import cpp_extension

    from kforge.eval import confinement
    from kforge.eval.open.extension_calls import UnusableCall, files_call, inline_call
    from kforge.eval.open.extension_install import replace_builders

    out = os.fdopen(int(os.environ["KFORGE_RESULT_FD"]), "w")

    def say(document: dict[str, object]) -> None:
        out.write(json.dumps(document) + "\n")
        out.flush()

    def recorder(make: Callable[..., object]) -> Callable[..., object]:
        def record(*arguments: object, **named: object) -> object:
            try:
                call = make(*arguments, **named)
            except (UnusableCall, TypeError) as error:
                say({"unusable": str(error)})
                raise
            say({"call": call.to_json()})  # type: ignore[attr-defined]
            return StandIn(call.name)  # type: ignore[attr-defined]

        return record

    replace_builders(cpp_extension, recorder(inline_call), recorder(files_call))
    path = Path("candidate.py")
    path.write_text(text)
    confinement.forbid_reaching_out()
    module = types.ModuleType("candidate")
    module.__file__ = str(path.absolute())
    sys.modules["candidate"] = module
    say({"begins": True})
    exec(compile(text, module.__file__, "exec"), module.__dict__)


if __name__ == "__main__":
    main()
