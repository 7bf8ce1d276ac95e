"""The referee itself on the card: baselines, policies, truths in pieces, ceilings, clock, confinement."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kforge.data.tasks.describe import describe_workload
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.eval import cuda_driver, pieces
from kforge.eval.ceilings_cuda import measure_ceilings
from kforge.eval.cuda_clock import DeviceClock
from kforge.eval.cuda_trusted import trusted_module
from kforge.eval.precision_policy import Policy, apply_policy, autocast_of
from kforge.eval.workbench import Verified, Workbench, Wrong
from kforge.types import DeviceInfo, Passed
from tests.gpu.opened import Opened, from_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def card(device: DeviceInfo) -> torch.device:
    return cuda_driver.use_device(int(device.selector.split(":")[1]))


@pytest.mark.parametrize("opened", [("kb/L1/1", "small")], indirect=True, ids=["matmul"])
def test_eager_and_compiled_baselines_stand_beside_a_result(opened: Opened) -> None:
    outcome = opened.outcome(from_file("matmul_split_k"))
    assert isinstance(outcome, Passed), outcome
    (result,) = outcome.workloads
    assert result.baseline.n == result.candidate.n
    assert result.compiled is not None
    assert result.compiled.n == result.candidate.n
    assert result.compiled_speedup is not None
    speedup, low, high = result.compiled_speedup
    assert 0 < low <= speedup <= high
    assert result.floor_us < result.baseline.median_us
    assert opened.pool.ceilings is not None


def test_a_policy_is_what_torch_computes_at(card: torch.device) -> None:
    a, b = torch.rand(512, 512, device=card), torch.rand(512, 512, device=card)
    exact = a.double() @ b.double()
    errors: dict[Policy, float] = {}
    policies: tuple[Policy, ...] = ("ieee", "tf32", "fp16", "bf16", "torch-default")
    for policy in policies:
        apply_policy(policy)
        with autocast_of(policy):
            errors[policy] = float(((a @ b).double() - exact).abs().max())
    apply_policy("ieee")
    assert errors["tf32"] > 10 * errors["ieee"]
    assert errors["bf16"] > 2 * errors["tf32"]
    assert errors["torch-default"] < errors["tf32"] / 10
    assert errors["fp16"] > 10 * errors["ieee"]


# ------------------------------------------------------------------------------------ truths in pieces


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut what a card would hold easily."""
    monkeypatch.setattr(pieces, "WHOLE_VALUES", 1 << 16)
    monkeypatch.setattr(pieces, "PIECE_VALUES", 1 << 20)


@pytest.mark.usefixtures("small_pieces")
def test_elementwise_references_are_cut_and_statistics_over_the_batch_are_not(card: torch.device) -> None:
    x = torch.randn(256, 64, 64, device=card)
    relu = pieces.pieces_of([x], [torch.relu(x)], lambda values: [torch.relu(_tensor(values[0]))])
    assert len(relu) == 2
    assert torch.equal(torch.cat([p.output(x) for p in relu]), x)
    norm = nn.BatchNorm1d(64, device=card).train()
    with torch.no_grad():
        whole = norm(x)
        assert pieces.pieces_of([x], [whole], lambda values: [norm(_tensor(values[0]))]) == ()


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _bench(card: torch.device) -> Workbench:
    (workload,) = load_task(resolve("kb/L1/23"), "small").workloads
    seeds = iter(range(10_000, 20_000))
    return Workbench(workload, describe_workload(workload), lambda: next(seeds), card)


@pytest.mark.parametrize("cut", [False, True])
def test_pieces_and_the_whole_agree(card: torch.device, cut: bool, request: pytest.FixtureRequest) -> None:
    if cut:
        request.getfixturevalue("small_pieces")
    bench = _bench(card)
    draw = bench.draw("own")
    (right,) = bench.eager(draw)
    found = bench.verify([right], draw, "ieee")
    assert isinstance(found, Verified), found
    wrong = right.clone()
    wrong[900, 17] *= 1.01
    refused = bench.verify([wrong], draw, "ieee")
    assert isinstance(refused, Wrong), refused
    assert "(900, 17)" in refused.mismatch.reason


# -------------------------------------------------------------------------------- clock and ceilings


def test_ceilings_are_in_the_order_of_their_precisions(card: torch.device) -> None:
    found = measure_ceilings(card)
    assert found.copy_bytes_per_s > 1e11
    assert 0 < found.ieee_flops < found.tf32_flops < found.fp16_flops
    assert found.bf16_flops > found.tf32_flops


def test_the_device_clock_orders_what_takes_longer(
    card: torch.device, device: DeviceInfo, cache: Path
) -> None:
    clock = DeviceClock(card, trusted_module(cache, device.arch).read_bytes())

    def median_us(wait_us: float | None) -> float:
        def submit() -> None:
            if wait_us is not None:
                clock._hold(wait_us)

        clock.timed(submit)
        runs = [clock.timed(submit) for _ in range(7)]
        assert any(run.ahead for run in runs)
        return statistics.median(run.device_us for run in runs)

    empty, short, long = median_us(None), median_us(500.0), median_us(5000.0)
    assert empty < short < long
    assert long > 4000.0


# --------------------------------------------------------------------------------------- confinement

_CONFINED = """
import json, os, pathlib, socket, sys
sys.path.insert(0, sys.argv[1])
from kforge.eval import cuda_driver, runner_cuda
bindings = str(pathlib.Path(cuda_driver.driver().__file__).resolve().parents[2])
layers = runner_cuda.confine([bindings, sys.argv[1]])
device = cuda_driver.use_device(0)
import torch
total = int(torch.arange(100, device=device).sum())
try:
    open(os.path.join(sys.argv[2], "secret")).read()
    file = "read"
except OSError:
    file = "refused"
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[3])), 2).close()
    network = "reached"
except OSError:
    network = "refused"
print(json.dumps({"layers": layers, "total": total, "file": file, "network": network}))
"""


def test_a_confined_process_has_the_card_and_little_else(card: torch.device, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("truth")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", _CONFINED, str(ROOT), str(tmp_path), port],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["total"] == 4950
    layers = found["layers"]
    assert layers["no_capabilities"]
    assert layers["seccomp"]
    assert found["file"] == ("refused" if layers["landlock"] else "read")
    assert found["network"] == "refused"
