"""SYCL exports in a plain process: they verify, load weights, fall back, refuse, and notice edits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kforge.errors import UsageError
from kforge.export.verify import Verification, verify
from kforge.types import DeviceInfo
from kforge.workers.hardware import choose_device
from tests.export.exporting import changed, export_text, in_plain_process, rehash
from tests.export.sycl_code import INSTANCE_NORM, LOCAL_SUM, RELU, TASK

pytestmark = pytest.mark.sycl


@pytest.fixture(scope="module")
def device() -> DeviceInfo:
    return choose_device("sycl", "cpu")


@pytest.fixture(scope="module")
def norm(device: DeviceInfo, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library operator, parameters, a constructor argument inside the plan."""
    folder = tmp_path_factory.mktemp("exports") / "norm"
    task = folder.with_name("task.py")
    task.write_text(TASK)
    export_text(INSTANCE_NORM, folder, task=str(task), size="full", device=device, cache_dir=cache)
    return folder


@pytest.fixture(scope="module")
def verified(norm: Path) -> Verification:
    return verify(norm)


def test_it_verifies_without_kforge(verified: Verification) -> None:
    assert verified.passed, verified.checks
    skipped = [name for name, text in verified.checks.items() if text.startswith("skipped")]
    assert all("stream" in name or "graph" in name for name in skipped)


def test_both_clocks_are_there_with_their_spread(verified: Verification) -> None:
    (times,) = verified.times
    for name in ("eager_host_us", "kernels_host_us", "kernels_device_us", "kernels_operators_us"):
        assert times[name]["n"] >= 15
        assert 0 < times[name]["p10"] <= times[name]["median"] <= times[name]["p90"]
    assert times["eager_device_us"] is None
    assert times["calls"]["eager"] == 0


USES = """
import copy, pickle
import norm
x, = norm.get_inputs()
old = norm.Model(*norm.get_init_inputs())
new = norm.ModelNew(*norm.get_init_inputs())
new.load_state_dict(old.state_dict())
other = norm.ModelNew(4, 8, 3, divide_by=3.0)
found = {}
with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found["close"] = bool(torch.allclose(new(x), old(x), atol=1e-4))
    found["by keyword"] = bool(torch.equal(new(x=x), new(x)))
    again = pickle.loads(pickle.dumps(new))
    found["pickled"] = bool(torch.equal(again(x), new(x)))
    found["kernels"] = new.fast_path.counts["kernels"] + again.fast_path.counts["kernels"]
    found["eval"] = bool(torch.equal(new.eval()(x), old(x)) or new.fast_path.counts["eager"] == 0)
    other(x), new(x[:1]), new(x[:2]), new(x.to(memory_format=torch.channels_last))
    with torch.autocast("cpu"):
        new(x)
    found["warned"] = [str(w.message).partition(": ")[2] for w in caught]
    found["reasons"] = dict(new.fast_path.reasons)
    new.fast_path.enabled = False
    found["disabled"] = bool(torch.equal(new(x), old(x)))
    new.fast_path.enabled = new.fast_path.strict = True
    try:
        new(x[:1])
    except RuntimeError as error:
        found["strict"] = str(error)
print(json.dumps(found))
"""


def test_a_user_can_do_with_it_what_one_does_with_models(norm: Path) -> None:
    found = in_plain_process(USES, norm)
    assert found["close"]
    assert found["by keyword"]
    assert found["pickled"]
    assert found["kernels"] == 8  # a pickled model keeps its counts
    assert found["eval"]
    assert found["disabled"]
    assert found["reasons"] == {"shape": 2, "strides": 1, "autocast": 1}
    constructed, shape, strides, autocast = found["warned"]  # one for each kind
    assert "divide_by=3.0" in constructed
    assert "(1, 4, 12, 12)" in shape
    assert "strides" in strides
    assert "autocast" in autocast
    assert "strict" in found["strict"]


LOADS = """
import norm
x, = norm.get_inputs()
found = {}
for name in ("whole", "edited_plan", "edited_image", "no_record", "elsewhere"):
    try:
        home = importlib.import_module(name)
        model = home.ModelNew(*home.get_init_inputs())
        with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
            model(x)
        found[name] = {way: n for way, n in model.fast_path.counts.items() if n}
        found[name]["reason"] = model.fast_path.last_reason
    except RuntimeError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def test_what_was_edited_is_refused_and_another_processor_runs_eager(
    norm: Path, verified: Verification, tmp_path: Path
) -> None:
    for name in ("whole", "edited_plan", "edited_image", "no_record", "elsewhere"):
        shutil.copytree(norm, tmp_path / name)  # with the shim that the verification built
    changed(tmp_path / "edited_plan", "plan.json", {'"bytes":': '"bytes": '})
    image = tmp_path / "edited_image" / "kernels.syclbin"
    image.write_bytes(image.read_bytes() + b"\0")
    (tmp_path / "no_record" / "export.json").unlink()
    changed(tmp_path / "elsewhere", "plan.json", {'"name":"AMD': '"name":"Other AMD'})
    rehash(tmp_path / "elsewhere")
    found = in_plain_process(LOADS, norm, tmp_path / "whole")
    assert found["whole"] == {"kernels": 1, "reason": None}
    assert "plan.json was changed" in found["edited_plan"]
    assert "kernels.syclbin was changed" in found["edited_image"]
    assert "export again" in found["no_record"]
    assert found["elsewhere"]["eager"] == 1
    assert "export again on this machine" in found["elsewhere"]["reason"]


@pytest.mark.slow
def test_local_memory_zeros_and_two_launches(device: DeviceInfo, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home"
    task = tmp_path / "task.py"
    task.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Model(nn.Module):\n    def forward(self, x):\n"
        "        return x.sum(1), x * 2.0\n\n\ndef get_inputs():\n    return [torch.rand(8, 256)]\n\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    export_text(LOCAL_SUM, folder, task=str(task), size="full", device=device, cache_dir=cache)
    found: Any = in_plain_process(
        "import home\nx, = home.get_inputs()\nm = home.ModelNew()\n"
        "with torch.no_grad():\n    (a, b), (c, d) = m(x), home.Model()(x)\n"
        "same = [bool(torch.allclose(a, c)), bool(torch.equal(b, d))]\n"
        "print(json.dumps([*same, m.fast_path.counts['kernels']]))",
        folder,
    )
    assert found == [True, True, 1]


def test_devices_on_which_no_export_was_tried_are_refused(
    device: DeviceInfo, cache: Path, tmp_path: Path
) -> None:
    other = replace(device, backend="level_zero", is_cpu=False, selector="level_zero:gpu:0")
    with pytest.raises(UsageError, match="level_zero:gpu:0"):
        export_text(RELU, tmp_path / "home", task="kb/L1/19", size="small", device=other, cache_dir=cache)
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_wrong_kernel_fails_its_verification_and_stays(
    device: DeviceInfo, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "home"
    wrong = RELU.replace("sycl::fmax(x[i], 0.0f)", "x[i]")
    export_text(wrong, folder, task="kb/L1/19", size="small", device=device, cache_dir=cache)
    found = verify(folder)
    assert not found.passed
    assert "off by" in found.checks["test_it_agrees_with_the_eager_model"]
    assert found.times == ()
    assert (folder / "model_new.py").exists()
    shutil.rmtree(folder)
