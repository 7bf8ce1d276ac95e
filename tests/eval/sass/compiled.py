"""The kernels of this folder, compiled once per architecture to machine code. No GPU and no driver."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from kforge.diagnosis_types import LaunchFacts
from kforge.eval import cubin, sass
from kforge.eval.cuda_devices import BUILD_TARGETS
from kforge.eval.cuda_toolkit import runnable_nvdisasm, toolkit
from kforge.eval.facts_cuda import build_facts
from kforge.eval.launch_facts import Geometry, Module, constants_of, launch_facts
from kforge.eval.plan import BoundArg, BoundScalar, BoundTensor
from kforge.types import BuildFacts

FILES = ("memory.cu", "shared.cu", "arithmetic.cu", "matrix.cu")
Three = tuple[int, int, int]


@cache
def _disassembler() -> Path:
    return runnable_nvdisasm(Path(tempfile.mkdtemp(prefix="kforge-nvdisasm-")))


@cache
def compiled(arch: str = "sm_90a") -> tuple[Module, BuildFacts]:
    """Every kernel of every file, as one module; of memory.cu alone for what is neither Ampere nor Hopper."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(arch=arch, std="c++17", include_path=list(toolkit().include))
    kernels: dict[str, cubin.CompiledKernel] = {}
    code: dict[str, tuple[sass.Placed, ...]] = {}
    for name in FILES if arch in BUILD_TARGETS else FILES[:1]:
        source = (Path(__file__).parent / name).read_text()
        image = bytes(Program(source, "c++", options).compile("cubin").code)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(image)
            file.flush()
            text = subprocess.run(
                [_disassembler(), "-c", file.name], capture_output=True, text=True, check=True
            ).stdout
        reserved = cubin.RESERVED_SHARED_BYTES if arch in ("sm_90a", "sm_100a", "sm_120a") else 0
        module = cubin.parse(image, reserved)
        kernels |= module.kernels
        code |= sass.kernels_of(text)
    parsed = cubin.Cubin(kernels, (), ())
    return Module(kernels, code), build_facts(code, parsed, 0)


def launched(
    name: str,
    grid: Three = (1024, 1, 1),
    block: Three = (256, 1, 1),
    ints: Mapping[int, int] | None = None,
    *,
    shared_bytes: int = 0,
    arch: str = "sm_90a",
) -> LaunchFacts:
    """Facts of one launch; ``ints`` are values of integer parameters by position."""
    module, _ = compiled(arch)
    kernel = module.kernels[name]
    arguments: Sequence[BoundArg] = [
        BoundScalar("i32", ints[number]) if ints and number in ints else BoundTensor(0, writable=True)
        for number in range(len(kernel.parameters))
    ]
    geometry = Geometry(grid, block, shared_bytes)
    constants = constants_of(kernel, arguments, geometry)
    device = BUILD_TARGETS[arch] if arch in BUILD_TARGETS else BUILD_TARGETS["sm_90a"]
    return launch_facts(name, geometry, module, device, constants=constants)
