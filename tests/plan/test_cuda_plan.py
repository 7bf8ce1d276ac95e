"""CUDA's own fields of a plan: accepted where the device has them, refused with the reason where not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from kforge.eval.bind import check_arguments
from kforge.eval.cuda_devices import BUILD_TARGETS
from kforge.eval.plan import (
    BoundArray,
    BoundPlan,
    BoundStruct,
    BoundTensorMap,
    LaunchPlan,
    LaunchStep,
    TensorMapArg,
    Waves,
)
from kforge.eval.plan_process import plan_candidate
from kforge.eval.signature import Signatures
from kforge.eval.signature_cuda import parse_cuda_signatures
from kforge.types import CandidateSource, DeviceInfo, InfraFailed, ScreenedOut, TimedOut
from tests.plan.examples import WORKLOAD, candidate

H100 = BUILD_TARGETS["sm_90a"]
Planned = LaunchPlan | ScreenedOut | TimedOut | InfraFailed


def source(body: str, code: str = "int a;") -> CandidateSource:
    lines = ["def plan(k, x):", "    y = k.empty((4, 8, 14, 14))", *(f"    {s}" for s in body.split("\n"))]
    made = candidate("\n".join([*lines, "    return y", ""]), code, "")
    return replace(made, language="cuda", text=made.text.replace('"sycl"', '"cuda"'))


def planned(body: str, device: DeviceInfo = H100) -> Planned:
    return asyncio.run(plan_candidate(source(body), {}, WORKLOAD, device, "sealed"))


def launch(attributes: str, grid: str = "(8,)", block: str = "(64,)", args: str = "[x, y]") -> str:
    return f"k.launch('f', {grid}, {block}, {args}, {attributes})"


def step_of(plan: Planned, number: int = -1) -> LaunchStep:
    assert isinstance(plan, LaunchPlan), plan
    step = plan.steps[number]
    assert isinstance(step, LaunchStep)
    return step


def test_every_attribute_arrives() -> None:
    step = step_of(
        planned(
            launch("")
            + "\n"
            + launch(
                "shared_bytes=100000, cooperative=True, cluster=(2, 2), pdl=True, carveout=50, after=[0]",
                "(4, 2)", "(8, 8)",
            )
        )
    )  # fmt: skip
    assert (step.shared_bytes, step.cooperative, step.cluster) == (100000, True, (2, 2))
    assert (step.pdl, step.carveout, step.after) == (True, 50, (0,))


def test_nothing_comes_before_the_first_launch() -> None:
    assert not step_of(planned(launch("pdl=True"))).pdl


def test_waves_and_big_clusters() -> None:
    assert step_of(planned(launch("", "{'waves': 2}"))).grid == Waves(2)
    big = step_of(planned(launch("cluster=16, nonportable_cluster=True", "(32,)")))
    assert (big.cluster, big.nonportable_cluster) == ((16,), True)


REFUSED = {
    "shared memory": (launch("shared_bytes=232449"), "shared_memory"),
    "carveout": (launch("carveout=101"), "plan"),
    "cooperative is no number": (launch("cooperative=2"), "plan"),
    "waves of none": (launch("", "{'waves': 0}"), "plan"),
    "another word": (launch("", "{'blocks': 1}"), "plan"),
    "after itself": (launch("after=[0]"), "plan"),
    "after a later one": (launch("after=[1]") + "\n" + launch(""), "plan"),
    "block": (launch("", block="(1025,)"), "block"),
    "block depth": (launch("", "(1, 1, 1)", "(1, 1, 65)"), "grid"),
    "grid height": (launch("", "(1, 65536)", "(64, 1)"), "grid"),
    "grid of none": (launch("", "(0,)"), "grid"),
    "cluster of 9": (launch("cluster=9", "(9,)"), "cluster"),
    "cluster of 17": (launch("cluster=17, nonportable_cluster=True", "(17,)"), "cluster"),
    "cluster that does not divide": (launch("cluster=4", "(6,)"), "cluster"),
    "no cluster": (launch("nonportable_cluster=True"), "cluster"),
    "waves in two dimensions": (launch("cluster=(2, 2)", "{'waves': 1}"), "cluster"),
    "local memory": (launch("", args="[x, y, k.local('f32', 4)]"), "plan"),
    "empty struct": (launch("", args="[k.struct()]"), "plan"),
    "struct of plain numbers": (launch("", args="[k.struct(x, 3)]"), "plan"),
    "pointers to numbers": (launch("", args="[k.pointers([3])]"), "plan"),
    "no pointers": (launch("", args="[k.pointers([])]"), "plan"),
    "maps of tensors": (launch("", args="[k.tensor_maps([x])]"), "plan"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_launch_that_cannot_be_is_refused(name: str) -> None:
    body, rule = REFUSED[name]
    found = planned(body)
    assert isinstance(found, ScreenedOut), found
    assert found.rule == rule, found


# ----------------------------------------------------------------------------------------- tensor maps

FLAT = "k.view(x, 0, 'f32', (12, 256))"  # all 3,072 values of x


def mapped(arguments: str, tensor: str = FLAT) -> str:
    return launch("", args=f"[k.tensor_map({tensor}, {arguments}), y]")


def test_a_tensor_map_follows_the_tensor() -> None:
    (arg, _) = step_of(planned(mapped("box=(64, 16), swizzle='none', l2_promotion='128b'"))).args
    assert isinstance(arg, TensorMapArg)
    found = arg.map
    assert (found.dims, found.strides_bytes, found.box) == ((256, 12), (1024,), (64, 16))
    assert (found.dtype, found.element_strides, found.l2_promotion) == ("float32", (1, 1), "128b")


MAPS = {
    "one row too many": ("box=(64, 16), dims=(256, 13)", "ends at byte"),
    "offset": ("box=(64, 16), dims=(256, 12), offset=4", "ends at byte"),
    "stride": ("box=(64, 16), dims=(256, 12), strides=(260,)", "ends at byte"),
    "odd offset": ("box=(64, 16), dims=(256, 1), offset=1", "multiple of 16"),
    "odd stride": ("box=(64, 16), dims=(255, 2), strides=(255,)", "multiples of 16"),
    "wide box": ("box=(257, 1)", "1..256"),
    "narrow box": ("box=(2, 1)", "multiple of 16"),
    "flat box": ("box=(64,)", "2 extents"),
    "swizzled": ("box=(64, 1), swizzle='128b'", "swizzle"),
    "element strides": ("box=(64, 1), element_strides=(1, 9)", "1..8"),
    "interleave": ("box=(64, 1), interleave='16b'", "3 dimensions"),
    "word": ("box=(64, 1), swizzle='256b'", "swizzle"),
    "argument": ("box=(64, 1), swizle='none'", "swizle"),
    "type": ("box=(64, 1), dtype='float128'", "dtype"),
    "im2col": ("kind='im2col', lower_corner=(0, 0), upper_corner=(0, 0), channels_per_pixel=8, "
               "pixels_per_column=8", "3 dimensions"),
    "kind": ("box=(64, 1), kind='wide'", "kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_a_tensor_map_that_leaves_its_buffer_or_the_hardware_is_refused(name: str) -> None:
    arguments, reason = MAPS[name]
    found = planned(mapped(arguments))
    assert isinstance(found, ScreenedOut), found
    assert found.rule in ("tensor_map", "plan")
    assert reason in found.reason, found


def test_an_ampere_card_has_neither_clusters_nor_tensor_maps() -> None:
    for body, rule in ((launch("cluster=2"), "cluster"), (mapped("box=(64, 1)"), "tensor_map")):
        found = planned(body, BUILD_TARGETS["sm_80"])
        assert isinstance(found, ScreenedOut)
        assert found.rule == rule


# --------------------------------------------------------------------------------------------- binding


def bound(parameters: str, args: str, before: str = "") -> BoundPlan | ScreenedOut:
    code = f'{before}\nextern "C" __global__ void f({parameters}) {{ }}\n'
    plan = asyncio.run(plan_candidate(source(launch("", args=args), code), {}, WORKLOAD, H100, "sealed"))
    assert isinstance(plan, LaunchPlan), plan
    signatures = parse_cuda_signatures(code, {})
    assert isinstance(signatures, Signatures), signatures
    return check_arguments(plan, signatures)


def test_structs_arrays_and_maps_bind() -> None:
    plan = bound(
        "const Job job, float* const* parts, const __grid_constant__ CUtensorMap map, "
        "const CUtensorMap* maps",
        f"[k.struct(k.b8(True), y, k.i32(3), k.f16(0.5), k.f64(1)), k.pointers([y, k.view(y, 4, 'f32', 4)]), "
        f"k.tensor_map({FLAT}, box=(64, 1)), k.tensor_maps([k.tensor_map({FLAT}, box=(64, 1))])]",
        "struct Job { bool b; float* y; int n; __half h; double d; };",
    )
    assert isinstance(plan, BoundPlan), plan
    job, parts, one, maps = plan.launches[0]
    assert isinstance(job, BoundStruct)
    assert ([f.offset for f in job.fields], job.bytes, job.align) == ([0, 8, 16, 20, 24], 32, 8)
    assert isinstance(parts, BoundArray)
    assert isinstance(one, BoundTensorMap)
    assert not one.writable
    assert isinstance(maps, BoundArray)


WRONG = {
    "struct for a pointer": ("float* y", "[k.struct(y)]", "arguments"),
    "tensor for a struct": ("const Job job", "[y]", "arguments"),
    "tensor for a map": ("const __grid_constant__ CUtensorMap map, float* y", "[x, y]", "arguments"),
    "map for a pointer": ("const float* x, float* y", f"[k.tensor_map({FLAT}, box=(64, 1)), y]", "arguments"),
    "maps for pointers": (
        "float* const* all, float* y", f"[k.tensor_maps([k.tensor_map({FLAT}, box=(64, 1))]), y]",
        "arguments",
    ),
    "pointers to inputs that may be written": ("float* const* y", "[k.pointers([x, y])]", "read_only"),
    "misaligned in an array": (
        "float4* const* y", "[k.pointers([y, k.view(y, 1, 'f32', 4)])]", "alignment",
    ),
    "other elements in an array": ("int* const* y", "[k.pointers([y])]", "arguments"),
    "overflow in a struct": ("const Job job", "[k.struct(y, k.f16(70000))]", "overflow"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_composites_go_only_where_they_belong(name: str) -> None:
    parameters, args, rule = WRONG[name]
    found = bound(parameters, args, "struct Job { float* y; };")
    assert isinstance(found, ScreenedOut), found
    assert found.rule == rule, found
