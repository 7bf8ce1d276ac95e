"""``kforge export`` as people and scripts type it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.terminal import Terminal, environment
from tests.export.exporting import CANDIDATES
from tests.export.sycl_code import RELU

TASK = ("--task", "kb/L1/19", "--size", "small")


@pytest.fixture
def kforge(tmp_path: Path, cache: Path) -> Terminal:
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "relu.py").write_text(RELU)
    (desk / "relu_cuda.py").write_text((CANDIDATES / "relu_float4.py").read_text())
    return Terminal(desk, environment(tmp_path / "home", cache))


@pytest.mark.parametrize(
    ("arguments", "code", "said", "following"),
    [
        (("nothing", "--out", "home"), 3, "store", ""),
        (("relu.py", "--out", "home"), 2, "needs its task", "--task"),
        (("relu.py", "--out", "my-kernel", *TASK), 2, "my-kernel", "--out my_kernel"),
        (("relu.py", "--out", ".", *TASK), 2, "not written by kforge export", "another --out"),
        (("relu.py", "--out", "home", "--candidate", "3", *TASK), 2, "--candidate", ""),
        (("missing.py", "--out", "home", *TASK), 2, "missing.py cannot be read", ""),
        (("relu.py", "--out", "home", "--task", "kb/L9/9"), 2, "kb/L9/9", ""),
        (("relu_cuda.py", "--out", "home", "--device", "sm_90a", *TASK), 2, "sm_90a", "--no-verify"),
    ],
)
def test_what_cannot_be_exported_is_said_with_what_to_do(
    arguments: tuple[str, ...], code: int, said: str, following: str, kforge: Terminal
) -> None:
    done = kforge("export", *arguments, "--json")
    assert done.code == code, done
    assert said in done.error["message"]
    assert following in done.error["next"]
    assert not (kforge.cwd / "home").exists()


no_card = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


@pytest.mark.cuda
@no_card
def test_what_cannot_be_verified_is_not_written(kforge: Terminal) -> None:
    done = kforge("export", "relu_cuda.py", "--out", "home", *TASK)
    assert done.code == 3
    assert "--no-verify" in done.err
    assert not (kforge.cwd / "home").exists()


@pytest.mark.slow
@pytest.mark.cuda
@no_card
def test_without_a_card_it_is_built_and_says_that_nothing_ran(kforge: Terminal) -> None:
    done = kforge("export", "relu_cuda.py", "--out", "home", "--no-verify", *TASK)
    assert done.code == 0, done
    assert "NOT VERIFIED" in done.out
    assert (kforge.cwd / "home" / "kernels.cubin").exists()
    again = kforge("export", "relu_cuda.py", "--out", "home", "--no-verify", "--json", *TASK)
    assert "--force" in again.error["next"]


@pytest.mark.slow
@pytest.mark.sycl
def test_a_search_and_what_it_found_goes_home(kforge: Terminal) -> None:
    found = kforge(
        "evolve", "--task", "kb/L2/17", "--size", "small", "--run", "demo", "--evals", "2", "--json"
    )
    assert found.code == 0, found
    done = kforge("export", "demo", "--out", "home", "--json")
    assert done.code == 0, done
    document = done.document
    assert document["status"] == "verified"
    assert (document["run"], document["task"], document["size"]) == ("demo", "kb/L2/17", "small")
    assert document["measured"]["speedup"] > 0
    assert set(document["verification"]["checks"].values()) > {"passed"}
    (times,) = document["verification"]["times"]
    assert times["kernels_host_us"]["median"] > times["kernels_device_us"]["median"] > 0
    number = str(document["candidate"])
    named = kforge("export", "demo", "--candidate", number, "--out", "home", "--force", "--no-verify")
    assert named.code == 0, named
    assert f"candidate {number} of run demo" in named.out
    refused = kforge("export", "demo", "--candidate", "99", "--out", "other", "--json")
    assert "no candidate 99" in refused.error["message"]
    wrong = kforge("export", "demo", "--size", "full", "--out", "other", "--json")
    assert "--size" in wrong.error["message"]
