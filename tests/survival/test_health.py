"""The health probe: passes on a good device, and names a sick one with the next command."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from kforge.clock import SystemClock
from kforge.errors import InfraError
from kforge.eval import health
from kforge.eval.arena import Arena
from kforge.eval.health import Health, _Probe, fork_server_lost, may_hurt
from kforge.eval.rejection import Stop
from kforge.eval.runner_client import RunnerHung
from kforge.eval.runner_main import RunnerBroken, serve
from kforge.eval.verifier import Verifier
from kforge.types import (
    BuildFacts,
    Built,
    CheckFailed,
    DeviceInfo,
    Measures,
    Outcome,
    Suspect,
    TimedOut,
    Unstable,
)
from kforge.workers.hardware import choose_device

HUNG = TimedOut("one run did not end", "check", 10.0)
BUILT = Built("", "", {}, BuildFacts((), 0), Measures(0, 0, 0), (), "", False, 0.0)
CRASH = CheckFailed("took its process down", "crash", "w", 0)


@pytest.fixture(scope="module")
def device() -> DeviceInfo:
    return choose_device("sycl", "cpu")


@pytest.fixture(autouse=True)
def _warm() -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "numpy", "kforge.eval.runner_sycl"])


def of(device: DeviceInfo) -> Health:
    return Health(device, {}, SystemClock())


@pytest.mark.parametrize(
    ("outcome", "hurts"),
    [
        (HUNG, True),
        (CRASH, True),
        (CheckFailed("refused", "launch", "w", 0), True),
        (CheckFailed("wrong", "mismatch", "w", 0), False),
        (Unstable("spread", 1.0), False),
        (Suspect("clocks", ""), False),
    ],
)
def test_what_may_hurt_a_device(outcome: Outcome, hurts: bool) -> None:
    assert may_hurt(outcome) is hurts


@pytest.mark.sycl
def test_a_good_device_passes_and_the_doubt_ends(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    made = of(device)
    made.remember(CRASH, [])
    made.require()
    monkeypatch.setattr(health, "PROBES", {})  # another probe would fail on this
    made.require()


def broken(connection: Connection) -> None:
    serve(connection, _Broken)


class _Broken(_Probe):
    def __init__(self, job: dict[str, Any], arena: Arena) -> None:
        raise RunnerBroken("CUDA_ERROR_ILLEGAL_ADDRESS")


def dies(connection: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(connection: Connection) -> None:
    signal.pause()


@pytest.mark.sycl
@pytest.mark.parametrize(
    ("probe", "words"), [(broken, "ILLEGAL_ADDRESS"), (dies, "SIGKILL"), (hangs, "no answer within")]
)
def test_a_sick_device_is_infrastructure_with_a_next_command(
    device: DeviceInfo,
    probe: Callable[[Connection], None],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "PROBES", {"sycl": probe})
    monkeypatch.setattr(health, "PROBE_LIMIT_S", 5.0)
    made = of(device)
    made.remember(HUNG, [])
    with pytest.raises(InfraError, match=words) as failure:
        made.require()
    assert device.name in failure.value.message
    assert "timed_out" in failure.value.message
    assert "kforge doctor" in failure.value.next_step


@pytest.mark.sycl
def test_memory_that_does_not_come_back_is_told(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SETTLE_S", 0.3)
    made = of(device)
    found = iter([5 << 30, 3 << 30, 3 << 30, 3 << 30])
    monkeypatch.setattr(made, "_free", lambda: next(found, 3 << 30))
    made._free_bytes = made._free()
    made.remember(HUNG, [])
    with pytest.raises(InfraError, match=r"2\.0 GiB of its memory did not come back"):
        made.require()


def test_a_runner_that_does_not_end_is_a_doubt(device: DeviceInfo) -> None:
    made = of(device)
    made.remember(Unstable("spread", 1.0), [os.getpid()])
    assert made._doubt is not None
    assert str(os.getpid()) in made._doubt


@pytest.mark.sycl
def test_a_lost_fork_server_is_seen(device: DeviceInfo) -> None:
    from multiprocessing.forkserver import _forkserver, ensure_running

    ensure_running()
    assert not fork_server_lost()
    pid: int = _forkserver._forkserver_pid  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    assert fork_server_lost()
    made = of(device)
    made.remember(CRASH, [])
    made.require()  # the next one that is needed starts a new one
    assert not fork_server_lost()


@pytest.mark.sycl
def test_the_next_candidate_waits_for_the_probe(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate before keeps its outcome; the one after it does not start on a sick device."""
    begun: list[str] = []

    def measured(*_: object) -> None:
        begun.append("a candidate")
        raise Stop(CRASH)

    verifier = Verifier.__new__(Verifier)
    verifier._health = of(device)
    monkeypatch.setattr(verifier, "_measured", measured)
    monkeypatch.setattr(health, "PROBES", {"sycl": broken})
    assert verifier.measure(BUILT, "ieee", lambda _: None) == CRASH
    with pytest.raises(InfraError, match="health probe"):
        verifier.measure(BUILT, "ieee", lambda _: None)
    assert begun == ["a candidate"]


@pytest.mark.sycl
def test_a_failed_baseline_is_infrastructure(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> None:
        raise RunnerHung("no answer within 6 s", 6.0)

    verifier = Verifier.__new__(Verifier)
    verifier._health = of(device)
    monkeypatch.setattr(verifier, "_measured", measured)
    with pytest.raises(InfraError, match="baseline's process failed"):
        verifier.measure(BUILT, "ieee", lambda _: None)
