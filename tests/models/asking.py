"""Asks a server once, and keeps everything that can be said about how that went."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from kforge.errors import KforgeError
from kforge.search.models.chat import Bill, ChatClient, Sample
from kforge.search.models.sampling import Patience, Sampling
from kforge.search.models.servers import Server
from kforge.search.models.wire import Completion, Spend
from kforge.search.proposer import Message
from tests.models.fault_server import FaultServer

KEY = "sk-very-secret-0123456789"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
# Waits are not slept, so only a busy machine meets these limits; HASTY is for the tests of the limits.
QUICK = Patience(attempts=4, connect_s=20.0, silence_s=20.0, deadline_s=30.0)
HASTY = Patience(attempts=4, connect_s=0.5, silence_s=0.5, deadline_s=1.5)
MESSAGES = (Message("system", "You write kernels."), Message("user", "Write one, please."))
PROMPT_TOKENS = 9  # 36 characters


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Went:
    """How a call went."""

    sample: Sample | None = None
    error: KforgeError | None = None
    spend: Spend = field(default_factory=Spend)
    waits: list[float] = field(default_factory=list)

    @property
    def one(self) -> Completion:
        """The only completion."""
        assert self.sample is not None, self.error
        (completion,) = self.sample.completions
        return completion

    @property
    def contents(self) -> list[str]:
        assert self.sample is not None, self.error
        return [completion.content for completion in self.sample.completions]

    @property
    def problem(self) -> KforgeError:
        assert self.error is not None, self.sample
        return self.error


def server_at(url: str, kind: str = "openai", key: str | None = KEY) -> Server:
    return Server("vllm" if kind == "vllm" else "openai", "m", url, key)


def client_for(
    server: Server, sampling: Sampling | None = None, waits: list[float] | None = None
) -> ChatClient:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return ChatClient(server, sampling or Sampling(patience=QUICK), FixedClock(), sleep)


def ask(
    server: FaultServer | str, n: int = 1, sampling: Sampling | None = None, patience: Patience | None = None
) -> Went:
    """One call with a client of its own."""
    return ask_often(server, 1, n, sampling, patience)[0]


def ask_often(
    server: FaultServer | str,
    calls: int,
    n: int = 1,
    sampling: Sampling | None = None,
    patience: Patience | None = None,
) -> list[Went]:
    """Calls of one client, one after the other."""
    found = sampling or Sampling(patience=QUICK)
    found = found if patience is None else replace(found, patience=patience)
    url = server if isinstance(server, str) else server.url

    async def run() -> list[Went]:
        waits: list[float] = []
        client = client_for(server_at(url), found, waits)
        try:
            return [await _went(client, n, waits) for _ in range(calls)]
        finally:
            await client.close()

    return asyncio.run(run())


async def _went(client: ChatClient, n: int, waits: list[float]) -> Went:
    bill, went = Bill(), Went()
    waits.clear()
    try:
        went.sample = await client.sample(MESSAGES, n, 7, 100, bill)
    except KforgeError as error:
        went.error = error
    went.spend, went.waits = bill.spend, list(waits)
    return went


def failing(work: Callable[[], Awaitable[object]]) -> KforgeError:
    """The error that ``work`` ends with."""
    with pytest.raises(KforgeError) as caught:
        asyncio.run(_await(work))
    return caught.value


async def _await(work: Callable[[], Awaitable[object]]) -> None:
    await work()


def everything_said(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """All text that an error and the log could show to somebody."""
    texts = ["".join(traceback.format_exception(error))]
    chained: BaseException | None = error
    while chained is not None:
        texts.append(f"{chained!r} {vars(chained)!r}")
        chained = chained.__cause__ or chained.__context__
    formatter = logging.Formatter()
    return "\n".join(texts + [formatter.format(record) for record in caplog.records])
