"""Which extensions a candidate asks for: read from its text, else seen by running its module level."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from kforge.errors import InfraError
from kforge.eval.compile_sycl import SYSTEM_PATHS
from kforge.eval.open.extension_calls import ExtensionCall, UnusableCall
from kforge.eval.open.extension_static import FoundCall, Reading, read_calls
from kforge.eval.sandbox import (
    PACKAGE_ROOT,
    ChildResult,
    FileAccess,
    Limits,
    run_limited,
    scrubbed_environment,
)
from kforge.types import BuildFailed, InfraFailed

# Address space: importing a CUDA build of torch maps its libraries, some ten GB.
RECORD_LIMITS = Limits(
    wall_s=60.0, cpu_s=60.0, memory_bytes=32 << 30, file_bytes=64 << 20, processes=256, nice=5
)
MAX_CALLS = 32
_CHILD = str(Path(__file__).with_name("extension_record_child.py"))
_CALL = TypeAdapter(ExtensionCall)


@dataclass(frozen=True, slots=True)
class Found:
    """The calls found, each once; ``recorder`` when the module level had to be run."""

    calls: tuple[FoundCall, ...]
    recorder: bool


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    call: ExtensionCall | None = None
    unusable: str | None = None
    begins: bool | None = None


def read_call(document: str | bytes) -> ExtensionCall:
    """A call from its JSON, which a candidate's process wrote.

    Raises:
        ValueError: it is none.
    """
    return _CALL.validate_json(document, strict=True)


async def find_calls(text: str, *, python: str = sys.executable) -> Found | BuildFailed | InfraFailed:
    """The extension calls of a candidate, as far as they can be known before it runs.

    Args:
        text: the candidate's file.
        python: interpreter of the recorder, with torch.
    """
    reading = read_calls(text)
    match reading:
        case UnusableCall():
            return BuildFailed(str(reading), "")
        case Reading(complete=True):
            return Found(_once(reading.calls), recorder=False)
        case Reading():
            recorded = await _record(text, python)
            if isinstance(recorded, BuildFailed | InfraFailed):
                return recorded
            return Found(_once((*recorded, *reading.calls)), recorder=True)


async def _record(text: str, python: str) -> tuple[FoundCall, ...] | BuildFailed | InfraFailed:
    with TemporaryDirectory(prefix="kforge-record-") as scratch:
        # torch may lie outside this environment, named by a path file.
        installed = [entry for entry in sys.path if Path(entry).is_dir()]
        readable = (sys.prefix, sys.base_prefix, PACKAGE_ROOT, *installed, *SYSTEM_PATHS)
        try:
            ended = await run_limited(
                [python, "-I", "-B", _CHILD, PACKAGE_ROOT],
                limits=RECORD_LIMITS,
                stdin=text.encode(),
                env=scrubbed_environment({"HOME": scratch, "TMPDIR": scratch, "CUDA_VISIBLE_DEVICES": ""}),
                cwd=scratch,
                files=FileAccess(read=readable, write=("/dev/null", scratch)),
                python=python,
            )
        except InfraError as error:
            return InfraFailed(f"{error.message}; {error.next_step}")
    return _calls(ended)


def _calls(ended: ChildResult) -> tuple[FoundCall, ...] | BuildFailed | InfraFailed:
    """What the recorder wrote; how the module level ended does not matter: the candidate's own run tells."""
    found: list[FoundCall] = []
    begun = False
    for line in ended.result.splitlines()[: MAX_CALLS + 2]:
        try:
            said = _Line.model_validate_json(line)
        except ValidationError:
            return BuildFailed("the candidate's module level left something that is no extension call", "")
        begun = begun or said.begins is True
        if said.unusable is not None:
            return BuildFailed(said.unusable[:1000], "")
        if said.call is not None:
            found.append(FoundCall(said.call, certain=True))
    if not begun:
        how = f"signal {ended.signal}" if ended.signal is not None else f"exit code {ended.exit_code}"
        return InfraFailed(
            f"the recorder did not start ({how}): {ended.stderr.decode(errors='replace')[-500:]}"
        )
    return tuple(found)


def _once(calls: tuple[FoundCall, ...]) -> tuple[FoundCall, ...]:
    kept: dict[str, FoundCall] = {}
    for found in calls:
        known = kept.get(found.call.digest)
        if known is None or (found.certain and not known.certain):
            kept[found.call.digest] = found
    return tuple(kept.values())
