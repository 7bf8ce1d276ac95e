"""What a compiled module is asked before anything runs, by language: forbidden features, layout, facts.

A visible registry beside that of the builders. Everything is read from compiled code, where no preprocessor
trick is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kforge.diagnosis_types import PlanFacts
from kforge.eval import cubin, facts, facts_cuda, sass
from kforge.eval.compile import CachedBuild
from kforge.eval.launch_facts import Module, plan_facts
from kforge.eval.layout import check_layout
from kforge.eval.layout_cuda import check_cuda_layout
from kforge.eval.plan import BoundPlan, LaunchStep
from kforge.eval.signature import Signatures, parse_signatures
from kforge.eval.signature_cuda import parse_cuda_signatures
from kforge.eval.syclbin import spirv_modules
from kforge.types import BuildFacts, DeviceInfo, Language, Scalar, ScreenedOut


@dataclass(frozen=True, slots=True)
class Inspected:
    """What compiled code says of itself.

    Attributes:
        forbidden: in words, None if there is nothing.
        mismatch: how it differs from what the plans bind to it.
        plans: facts of each plan's launches, in order; empty where a language has none.
    """

    forbidden: str | None
    mismatch: ScreenedOut | None
    facts: BuildFacts
    plans: tuple[PlanFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspector:
    """How one language's source and code are read.

    Attributes:
        signatures: kernels that a source declares.
        inspect: the compiled module; raises ``ValueError`` when it is not well-formed.
    """

    signatures: Callable[[str, Mapping[str, Scalar]], Signatures | ScreenedOut]
    inspect: Callable[[CachedBuild, Signatures, Sequence[BoundPlan], DeviceInfo], Inspected]


def _inspect_sycl(
    build: CachedBuild, signatures: Signatures, plans: Sequence[BoundPlan], device: DeviceInfo
) -> Inspected:
    modules = spirv_modules(build.intermediate)
    names = {s.kernel for p in plans for s in p.plan.steps if isinstance(s, LaunchStep)}
    launched = [signatures.kernels[name] for name in sorted(names)]
    return Inspected(
        facts.forbidden_features(modules), check_layout(modules, launched), facts.build_facts(modules)
    )


def _inspect_cuda(
    build: CachedBuild, signatures: Signatures, plans: Sequence[BoundPlan], device: DeviceInfo
) -> Inspected:
    image = build.module_path.read_bytes()
    hopper = device.max_cluster > 1  # clusters and the reserved kilobyte came together
    module = cubin.parse(image, cubin.RESERVED_SHARED_BYTES if hopper else 0)
    code = sass.kernels_of(build.intermediate.decode())
    unseen = module.kernels.keys() - code.keys()
    if unseen:
        raise ValueError(f"the disassembly lacks {', '.join(sorted(unseen)[:3])}")
    mismatch = check_cuda_layout(module.kernels, plans, device)
    compiled = Module(module.kernels, code)
    return Inspected(
        facts_cuda.forbidden_features(code, module, signatures.constants),
        mismatch,
        facts_cuda.build_facts(code, module, len(image)),
        () if mismatch is not None else tuple(plan_facts(plan, compiled, device) for plan in plans),
    )


INSPECTORS: Mapping[Language, Inspector] = {
    "sycl": Inspector(parse_signatures, _inspect_sycl),
    "cuda": Inspector(parse_cuda_signatures, _inspect_cuda),
}
