"""Device code in pieces, and a real build of it: every test of CUDA machine code begins here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kforge.eval import cubin, sass
from kforge.eval.compile import CachedBuild, cached_build
from kforge.eval.cubin import Cubin
from kforge.eval.cuda_devices import BUILD_TARGETS
from kforge.eval.facts_cuda import build_facts, forbidden_features
from kforge.eval.sass import Placed
from kforge.eval.signature import Signatures
from kforge.eval.signature_cuda import parse_cuda_signatures
from kforge.types import BuildFacts, BuildFailed, CandidateSource, InfraFailed, Scalar, TimedOut

H100 = BUILD_TARGETS["sm_90a"]


def source(code: str) -> CandidateSource:
    return CandidateSource(text=code, hash="", language="cuda", precision="ieee", device_code=code)


def kernel(parameters: str, body: str, before: str = "") -> str:
    return f'{before}\nextern "C" __global__ void f({parameters}) {{\n  {body}\n}}\n'


def built(
    code: str, cache: Path, tune: Mapping[str, Scalar] | None = None
) -> CachedBuild | BuildFailed | TimedOut | InfraFailed:
    return asyncio.run(cached_build(source(code), tune or {}, H100, cache))


@dataclass(frozen=True, slots=True)
class Machine:
    """A build as read back."""

    image: bytes
    cubin: Cubin
    code: Mapping[str, tuple[Placed, ...]]
    forbidden: str | None
    facts: BuildFacts

    def opcodes(self, name: str = "f") -> set[str]:
        return {placed.instruction.name for placed in self.code[name]}


def machine(code: str, cache: Path, tune: Mapping[str, Scalar] | None = None) -> Machine:
    made = built(code, cache, tune)
    assert isinstance(made, CachedBuild), made
    image = made.module_path.read_bytes()
    module, found = cubin.parse(image), sass.kernels_of(made.intermediate.decode())
    signatures = parse_cuda_signatures(code, tune or {})
    assert isinstance(signatures, Signatures), signatures
    return Machine(
        image, module, found, forbidden_features(found, module, signatures.constants),
        build_facts(found, module, len(image)),
    )  # fmt: skip
