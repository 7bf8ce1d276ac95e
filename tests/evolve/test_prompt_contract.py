"""What the system prompts promise holds: their examples plan and compile, their lists are whole."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from kforge.errors import MissingPrerequisite
from kforge.eval.bind import check_arguments
from kforge.eval.candidate import parse_candidate
from kforge.eval.compile_cuda import CudaBuilder
from kforge.eval.compile_sycl import SyclBuilder
from kforge.eval.compiled import Compiled
from kforge.eval.plan import BoundPlan, LaunchPlan, LaunchStep
from kforge.eval.plan_process import plan_candidate
from kforge.eval.planning.ops import COMPUTING, VIEWS
from kforge.eval.planning.tensor_maps import WORDS
from kforge.eval.screen import CUDA_HEADERS, STANDARD_HEADERS, screen_source
from kforge.eval.signature import Signatures, parse_signatures
from kforge.eval.signature_cuda import parse_cuda_signatures
from kforge.search.parse import parse_reply
from kforge.search.prompts import PromptParts, render_prompt
from kforge.types import CandidateSource, DeviceInfo, InputSpec, TensorSpec, WorkloadSpec
from tests.evolve.test_prompts import H100
from tests.evolve.world import DEVICE, TASK

X = TensorSpec("x", "float32", (6, 4096), (4096, 1))
# The module that the examples are written for.
WORKLOAD = WorkloadSpec(
    name="default",
    inputs=(InputSpec("x", "real", X),),
    parameters=(TensorSpec("weight", "float32", (4096,), (1,)),),
    buffers=(),
    init={"features": 4096, "gain": 3},
    outputs=(X,),
    returns_tuple=False,
)
DEVICES = pytest.mark.parametrize("device", [DEVICE, H100], ids=["sycl", "cuda"])


def system(device: DeviceInfo) -> str:
    return render_prompt(TASK, device, "sealed", PromptParts("first", None, (), ()))[0].content


def example(device: DeviceInfo) -> CandidateSource:
    source = parse_reply(system(device), parse_candidate)
    assert isinstance(source, CandidateSource), source
    assert source.language == device.language
    return source


@DEVICES
def test_the_example_is_screened_planned_and_bound(device: DeviceInfo) -> None:
    source = example(device)
    assert screen_source(source) is None
    tune = source.first_choice()
    plan = asyncio.run(plan_candidate(source, tune, WORKLOAD, device, "pure"))
    assert isinstance(plan, LaunchPlan), plan
    (launch,) = plan.steps
    assert isinstance(launch, LaunchStep)
    assert launch.grid == (6,)
    read = parse_cuda_signatures if device is H100 else parse_signatures
    signatures = read(source.device_code, tune)
    assert isinstance(signatures, Signatures)
    assert not signatures.skipped
    assert isinstance(check_arguments(plan, signatures), BoundPlan)


@pytest.mark.sycl
def test_the_sycl_example_compiles(tmp_path: Path) -> None:
    source = example(DEVICE)
    built = asyncio.run(SyclBuilder().build(source, source.first_choice(), DEVICE, tmp_path))
    assert isinstance(built, Compiled), built


@pytest.mark.parametrize("block", [128, 256, 512])
def test_the_cuda_example_compiles(block: int, tmp_path: Path) -> None:
    source = example(H100)
    assert block in source.tune["BLOCK"]
    try:
        built = asyncio.run(CudaBuilder().build(source, {"BLOCK": block}, H100, tmp_path))
    except MissingPrerequisite as missing:
        pytest.skip(str(missing))
    assert isinstance(built, Compiled), built
    assert built.log == ""
    assert b"LDG.E.128" in built.intermediate or b"LDG.E.EF.128" in built.intermediate


@pytest.mark.parametrize(
    ("device", "headers"), [(DEVICE, STANDARD_HEADERS), (H100, CUDA_HEADERS)], ids=["sycl", "cuda"]
)
def test_every_accepted_header_is_named(device: DeviceInfo, headers: frozenset[str]) -> None:
    words = set(re.findall(r"[\w.]+", system(device)))
    assert sorted(headers - words) == []


@DEVICES
def test_every_operator_is_named(device: DeviceInfo) -> None:
    words = set(re.findall(r"\w+", system(device)))
    assert sorted({*COMPUTING, *VIEWS} - words) == []


def test_every_feature_of_a_cuda_launch_is_named() -> None:
    text = system(H100)
    features = (
        "shared_bytes", "cooperative", "cluster", "nonportable_cluster", "pdl", "carveout", "after",
        '{"waves": n}', "k.tensor_map", "k.tensor_maps", "k.struct", "k.pointers", "k.memset", "k.copy",
        *WORDS,
    )  # fmt: skip
    assert [name for name in features if name not in text] == []
