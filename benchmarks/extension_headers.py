"""What slim headers save: ``python -m benchmarks.extension_headers [FILE]... [--full] [--arch sm_90a]``.

Compiles the extensions of ``benchmarks/extensions`` (or of other candidates) with kforge's slim headers
and, with ``--full``, with torch's own, and prints for each which headers served, wall seconds and processor
seconds of all compilers together, then the share that the slim headers served. Nothing is linked or run, so
a CPU build of torch suffices where nvcc is; ``--include`` names a directory with headers that such a build
lacks.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from kforge.eval.open.extension_build import Headers, Objects, Workplace, compile_objects
from kforge.eval.open.extension_calls import ExtensionCall
from kforge.eval.open.extension_finder import Found, find_calls
from kforge.eval.open.extension_flags import Flags, accepted_flags
from kforge.eval.open.extension_toolchain import Nvcc, nvcc, toolchain

HOME = Path(__file__).with_name("extensions")


@dataclass(frozen=True, slots=True)
class Measured:
    """One compilation: whether it succeeded, wall and processor seconds, the first error."""

    served: bool
    wall_s: float
    cpu_s: float
    reason: str


async def measure(call: ExtensionCall, headers: Headers, cuda: Nvcc, arch: str) -> Measured:
    """Compile one call with one kind of headers."""
    flags = accepted_flags(call.cflags, call.cuda_cflags, call.ldflags)
    if not isinstance(flags, Flags):
        return Measured(False, 0.0, 0.0, flags.reason)
    with TemporaryDirectory(prefix="kforge-headers-") as scratch:
        place = Workplace(call, flags, toolchain(), cuda if call.with_cuda else None, arch, Path(scratch))
        cpu, started = _child_cpu_s(), time.monotonic()
        result = await compile_objects(place, (headers,))
        wall = time.monotonic() - started
        reason = "" if isinstance(result, Objects) else result.reason
        return Measured(isinstance(result, Objects), wall, _child_cpu_s() - cpu, reason)


def _child_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def measure_all(files: Sequence[Path], kinds: Sequence[Headers], cuda: Nvcc, arch: str) -> None:
    """Print a row per extension, then the totals."""
    rows: list[tuple[str, dict[Headers, Measured]]] = []
    print(f"{'extension':28}" + "".join(f"{kind + ' wall s':>12}{'cpu s':>8}" for kind in kinds))
    for file in files:
        found = await find_calls(file.read_text())
        if not isinstance(found, Found):
            print(f"{file.stem:28}{found.reason}")
            continue
        if not found.calls:
            print(f"{file.stem:28}its call is known only at run time")
        for each in found.calls:
            taken = {kind: await measure(each.call, kind, cuda, arch) for kind in kinds}
            rows.append((each.call.name, taken))
            walls = [f"{m.wall_s:12.1f}" if m.served else f"{'no':>12}" for m in taken.values()]
            cells = "".join(f"{w}{m.cpu_s:8.1f}" for w, m in zip(walls, taken.values(), strict=True))
            reasons = "  ".join(m.reason[:100] for m in taken.values() if not m.served)
            print(f"{each.call.name:28}{cells}  {reasons}", flush=True)
    for kind in kinds:
        served = [taken[kind] for _, taken in rows if taken[kind].served]
        cpu = sorted(m.cpu_s for m in served)
        median = cpu[len(cpu) // 2] if cpu else float("nan")
        print(f"{kind}: {len(served)} of {len(rows)} served, median {median:.1f} processor seconds")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--full", action="store_true", help="also compile with torch's full headers")
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--include", type=Path, action="append", default=[])
    options = parser.parse_args()
    cuda = nvcc()
    cuda = replace(cuda, include=(*cuda.include, *(path.resolve() for path in options.include)))
    files = options.files or sorted(HOME.glob("*.py"))
    kinds: tuple[Headers, ...] = ("slim", "full") if options.full else ("slim",)
    print(f"{toolchain().version}; {cuda.version}; {options.arch}")
    asyncio.run(measure_all(files, kinds, cuda, options.arch))


if __name__ == "__main__":
    main()
