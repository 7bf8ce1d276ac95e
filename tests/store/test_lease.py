"""One driver per run, whatever died before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kforge.data.lease import LEASE_S, LeaseOwner, process, this_process
from kforge.data.store import Store
from kforge.errors import StoreError, UsageError
from tests.store.children import acquire_together, received, start, write_for_ever
from tests.store.samples import at, new_run

ELSEWHERE = LeaseOwner("farm-7 boot ns", 4242, "99")


def test_a_living_process_of_this_host_keeps_its_lease_even_expired(store: Store, url: str) -> None:
    run = new_run(store)
    child, pipe = start(acquire_together, url, "demo")
    pipe.send("open")
    assert pipe.recv() == "ready"
    pipe.send("acquire")
    assert pipe.recv() == "got it"
    with pytest.raises(UsageError, match=f"driven by process {child.pid} on ") as caught:
        store.acquire(run.id, this_process(), at(LEASE_S * 100))
    assert caught.value.next_step.endswith(f"kill {child.pid}")
    child.kill()
    child.join()
    lease = store.acquire(run.id, this_process(), at(0))
    assert lease.expires_at == at(LEASE_S)


def test_a_killed_driver_frees_its_run_at_once(url: str) -> None:
    child, pipe = start(write_for_ever, url, "demo")
    assert pipe.recv()[0] == "proposal"
    child.kill()
    received(pipe)
    child.join()
    with Store.open(url) as store:
        store.acquire(store.get_run("demo").id, this_process(), at(0))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="process states come from /proc")
def test_a_dead_driver_that_nobody_reaped_holds_nothing(store: Store) -> None:
    run = new_run(store)
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        owner = process(sleeper.pid)
        store.acquire(run.id, owner, at(0))
        with pytest.raises(UsageError, match="is being driven"):
            store.acquire(run.id, this_process(), at(1))
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # dead, still a zombie
        store.acquire(run.id, this_process(), at(2))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="start times come from /proc")
def test_a_reused_pid_is_not_the_driver(store: Store) -> None:
    run = new_run(store)
    parent = LeaseOwner(this_process().host, os.getppid(), "1")
    store.acquire(run.id, parent, at(0))
    store.acquire(run.id, this_process(), at(1))


def test_another_host_is_believed_until_its_lease_expires(store: Store) -> None:
    run = new_run(store)
    lost = store.acquire(run.id, ELSEWHERE, at(0))
    kept = store.renew(lost, at(30))
    with pytest.raises(UsageError, match="process 4242 on farm-7 "):
        store.acquire(run.id, this_process(), at(30 + LEASE_S - 0.001))
    mine = store.acquire(run.id, this_process(), at(30 + LEASE_S))
    with pytest.raises(StoreError, match="lost the run 'demo'"):
        store.renew(kept, at(100))
    store.release(kept)  # not ours any more: changes nothing
    assert store.renew(mine, at(101)).expires_at == at(101 + LEASE_S)


def test_a_released_run_is_free(store: Store) -> None:
    run = new_run(store)
    store.release(store.acquire(run.id, ELSEWHERE, at(0)))
    store.acquire(run.id, this_process(), at(0))


def test_an_unknown_run_cannot_be_acquired(store: Store) -> None:
    with pytest.raises(StoreError, match="no run 'nope'"):
        store.acquire("nope", this_process(), at(0))


def test_of_processes_that_start_together_one_drives(url: str) -> None:
    """They also all find the database empty and create the same run."""
    children = [start(acquire_together, url, "race") for _ in range(4)]
    for step in ("open", "acquire"):
        for _, pipe in children:
            pipe.send(step)
        said = [pipe.recv() for _, pipe in children]
    for child, pipe in children:
        pipe.send("end")
        child.join()
        assert child.exitcode == 0
    assert said.count("got it") == 1, said
    assert sum("is being driven by process" in one for one in said) == 3
