"""``kforge eval`` of CUDA candidates on a machine without a card: built, told about, and not run."""

from __future__ import annotations

import pytest
import torch

from tests.cli.terminal import ROOT, Done, Terminal

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device"),
]
RELU = (ROOT / "tests" / "gpu" / "candidates" / "relu_float4.py").read_text()


def evaluate(kforge: Terminal, text: str, *more: str) -> Done:
    (kforge.cwd / "candidate.py").write_text(text)
    return kforge("eval", "candidate.py", "--task", "kb/L1/19", "--size", "small", *more)


def test_a_good_build_is_described_and_the_device_is_missing(kforge: Terminal) -> None:
    done = evaluate(kforge, RELU, "--json")
    assert done.code == 3
    found = done.document
    assert found["error"]["code"] == "no_device"
    assert found["error"]["next"]
    assert found["target"] == "sm_90a"
    assert found["status"] is None
    (kernel,) = found["facts"]["kernels"]
    assert kernel["name"] == "relu_float4"
    assert kernel["resources"]["registers"] > 0
    assert sorted(found["measures"]) == ["compute", "memory", "parallelism"]


def test_people_read_facts_and_what_to_do(kforge: Terminal) -> None:
    done = evaluate(kforge, RELU)
    assert done.code == 3
    assert "built for sm_90a" in done.out
    assert "registers" in done.out
    assert "next:" in done.err


REJECTED = {
    "build": (RELU.replace("__ldcs(", "__undeclared("), "build_failed", "candidate.cu("),
    "state": (
        RELU.replace('extern "C"', '__device__ int kept;\nextern "C"', 1).replace(
            "long long first =", "kept++; long long first ="
        ),
        "screened_out", "kept",
    ),
    "block": (RELU.replace("block=(k.tune.BLOCK,)", "block=(1024,)"), "screened_out", "__launch_bounds__"),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
def test_a_rejected_build_is_a_result(kforge: Terminal, name: str) -> None:
    text, status, reason = REJECTED[name]
    assert text != RELU
    done = evaluate(kforge, text, "--json")
    assert done.code == 1, done
    assert done.document["status"] == status
    assert reason in done.document["reason"]
    assert done.document["speedup"] is None
