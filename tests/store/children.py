"""What child processes of the store tests do. Forked from a server that has imported the store once."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from kforge.data.lease import this_process
from kforge.data.records import ArchiveEvent
from kforge.data.store import Store
from kforge.errors import KforgeError, UsageError
from tests.store.samples import ask, at, new_run, reply, scored


def start(target: Callable[..., None], *args: object) -> tuple[ForkServerProcess, Connection]:
    """Run ``target(pipe, *args)`` in a child; return it and our end of the pipe."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kforge.data.store"])
    ours, theirs = context.Pipe()
    child = context.Process(target=target, args=(theirs, *args), daemon=True)
    child.start()
    theirs.close()  # so that our end sees the child's death
    return child, ours


def received(pipe: Connection) -> list[Any]:
    """Everything the child said until it ended."""
    said = []
    while True:
        try:
            said.append(pipe.recv())
        except (EOFError, ConnectionResetError):
            return said


def write_for_ever(pipe: Connection, url: str, name: str) -> None:
    """Propose, answer and evaluate without end; say what was acknowledged, each time after it was."""
    with Store.open(url) as store:
        run = store.find_run(name) or new_run(store, name)
        store.acquire(run.id, this_process(), at(0))
        store.abandon_open_proposals(run.id, at(0))
        done = len(store.load_run(run.id).candidates)
        for ordinal in itertools.count(done):
            proposal = ask(store, run, ordinal, prompt=f"prompt {ordinal} " + "x" * 2000)
            pipe.send(("proposal", proposal))
            made = store.finish_proposal_with_candidate(
                proposal, reply(f"reply {ordinal}"), source=f"source {ordinal}", now=at(1)
            )
            pipe.send(("candidate", made))
            event = ArchiveEvent("new", str(ordinal), float(ordinal), 1.0)
            told = store.record_evaluation(made, scored(float(ordinal)), at(2), event)
            pipe.send(("evaluation", told.id))


def write_on_a_full_disk(pipe: Connection, url: str, limit_bytes: int) -> None:
    """The same with every file held below ``limit_bytes``; at the end say which error came."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails with EFBIG instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        write_for_ever(pipe, url, "full")
    except KforgeError as error:
        pipe.send(("error", (type(error).__name__, error.message, error.next_step)))


def acquire_together(pipe: Connection, url: str, name: str) -> None:
    """Open the store and the run when told, try to get the lease, and keep it until told to end."""
    pipe.recv()
    with Store.open(url) as store:
        with contextlib.suppress(UsageError):  # a sibling was first
            new_run(store, name)
        pipe.send("ready")
        pipe.recv()
        try:
            store.acquire(store.get_run(name).id, this_process(), at(0))
            pipe.send("got it")
        except KforgeError as error:
            pipe.send(error.message)
        pipe.recv()
