"""Chat Completions over HTTP: the one place that knows the ``openai`` package.

The package carries requests: addresses, headers, connections. Its own retries are off, and what comes back is
read by ``wire``: a server may answer 200 with broken JSON, no choices, or half a stream.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kforge.clock import Clock, decision_rng
from kforge.codec import from_json
from kforge.errors import InfraError, KforgeError
from kforge.search.models import sse
from kforge.search.models.dialect import Dialect
from kforge.search.models.faults import PassingError, Refusal, cause, fault
from kforge.search.models.sampling import Sampling
from kforge.search.models.servers import NO_KEY, Server
from kforge.search.models.wire import (
    Assembly,
    Completion,
    ServerSaidError,
    Spend,
    UnreadableError,
)
from kforge.search.proposer import Message

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI
    from tenacity import RetryCallState

T = TypeVar("T")
TOP_UP_ROUNDS = 3
# A server that lacks the list of models may still have the model.
_NO_LIST = frozenset({404, 405, 429, 500, 501})


class Bill:
    """What requests cost so far. Whoever asks keeps it, so that it survives failure and cancellation."""

    def __init__(self) -> None:
        self.spend = Spend()

    def add(self, spend: Spend) -> None:
        """Count one more request."""
        self.spend += spend


@dataclass(frozen=True, slots=True)
class Sample:
    """Completions of one prompt.

    Attributes:
        model: who answered, in the server's own words; None when it does not say.
    """

    completions: tuple[Completion, ...]
    model: str | None


class _RefusedFieldError(Exception):
    """The server refused a field; the dialect has learned to leave it out."""


@dataclass(frozen=True, slots=True)
class _ListedModel:
    id: str


@dataclass(frozen=True, slots=True)
class _ModelList:
    data: tuple[_ListedModel, ...]


class ChatClient:
    """Samples completions from one server, and puts up with its troubles."""

    def __init__(
        self,
        server: Server,
        sampling: Sampling,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Make a client; nothing is sent before the first request.

        Args:
            server: where the model is, and the key.
            sampling: how to ask, and with how much patience.
            clock: time, for dates in ``Retry-After``.
            sleep: waits between attempts.
        """
        self.server = server
        self._sampling = sampling
        self._patience = sampling.patience
        self._clock = clock
        self._sleep = sleep
        self._dialect = Dialect()
        self._slots = asyncio.Semaphore(sampling.concurrency)
        self._opened: AsyncOpenAI | None = None

    @property
    def _client(self) -> AsyncOpenAI:
        if self._opened is None:
            from openai import AsyncOpenAI

            self._opened = AsyncOpenAI(
                api_key=self.server.key or NO_KEY, base_url=self.server.url, max_retries=0
            )
        return self._opened

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    # ------------------------------------------------------------------------------------------- models

    async def model_names(self) -> tuple[str, ...] | None:
        """The models that the server lists; None when it has no readable list.

        Raises:
            MissingPrerequisite: the key is not accepted.
            InfraError: the server does not answer.
        """
        try:
            return _listed(await self._translated(self._list(), None))
        except TimeoutError:
            trouble = f"no answer within {self._patience.connect_s:g} s"
        except PassingError as error:
            trouble = error.reason
        except _NoListError:
            return None
        raise self._unreachable(trouble)

    async def _list(self) -> bytes:
        import httpx2

        client = self._client  # its package takes a while to import: that is not the server's time
        async with asyncio.timeout(self._patience.connect_s):
            response = await client.get("/models", cast_to=httpx2.Response)
            return await response.aread()

    def _unreachable(self, trouble: str) -> InfraError:
        server = self.server
        start = f"start it: vllm serve {server.model}" if server.kind == "vllm" else "check network and proxy"
        return InfraError(
            f"The model server {server.url} cannot be used: {trouble}.", f"curl {server.url}/models; {start}"
        )

    # ------------------------------------------------------------------------------------------ samples

    async def sample(
        self, messages: Sequence[Message], n: int, seed: int, max_completion_tokens: int, bill: Bill
    ) -> Sample:
        """Exactly ``n`` completions of a prompt, with as many requests as that takes.

        Args:
            messages: the prompt.
            n: how many.
            seed: for the server if seeds are sent, and for the waits between attempts.
            max_completion_tokens: upper bound of each completion.
            bill: every request is counted there, those that failed included.

        Raises:
            InfraError: attempts ran out, the credit is spent, or the server asks for too long a wait.
            MissingPrerequisite: the key is not accepted.
            UsageError: the server does not have the model, or does not take the request.
        """
        found: list[Completion] = []
        model: str | None = None
        for _ in range(1 + TOP_UP_ROUNDS):
            missing = n - len(found)
            if missing <= 0:
                break
            several = missing > 1 and self._dialect.takes_n
            sizes = [missing] if several else [1] * missing
            samples = await _all_of(
                self._patiently(messages, size, seed + len(found) + place, max_completion_tokens, bill)
                for place, size in enumerate(sizes)
            )
            found += [completion for sample in samples for completion in sample.completions]
            model = samples[0].model
            if several and len(found) < n:
                self._dialect.takes_n = False
        if len(found) < n:
            raise InfraError(
                f"{self.server.name} gave {len(found)} of {n} completions in {1 + TOP_UP_ROUNDS} rounds.",
                "ask for fewer at a time",
            )
        return Sample(tuple(found[:n]), model)

    async def _patiently(
        self, messages: Sequence[Message], n: int, seed: int, limit: int, bill: Bill
    ) -> Sample:
        """One request, repeated while its trouble may pass."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        patience = self._patience
        rng = decision_rng(seed, "retry", 0)

        def wait_s(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, PassingError) and error.wait_s is not None:
                return error.wait_s
            backoff = patience.first_wait_s * 2.0 ** (state.attempt_number - 1)
            return min(backoff, patience.longest_backoff_s) * rng.uniform(0.75, 1.0)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError), stop=stop_after_attempt(patience.attempts),
            wait=wait_s, sleep=self._sleep, reraise=True,
        )  # fmt: skip
        try:
            return await retrying(self._understood, messages, n, seed, limit, bill)
        except PassingError as error:
            reason = error.reason
        raise InfraError(
            f"{self.server.name} failed {patience.attempts} times: {reason}.",
            f"curl {self.server.url}/models, then resume the run",
        )

    async def _understood(
        self, messages: Sequence[Message], n: int, seed: int, limit: int, bill: Bill
    ) -> Sample:
        """One request in the server's dialect; what it refuses is left out and it is asked again."""
        while True:
            body = self._dialect.body(
                self.server.model, messages, sampling=self._sampling, n=n, seed=seed, limit=limit
            )
            try:
                async with self._slots:
                    return await self._once(body, sum(len(message.content) for message in messages), bill)
            except _RefusedFieldError:
                continue

    async def _once(self, body: dict[str, Any], prompt_characters: int, bill: Bill) -> Sample:
        """One HTTP request.

        Raises:
            PassingError: another attempt may do.
            KforgeError: none will.
        """
        assembly = Assembly(prompt_characters)
        try:
            await self._translated(self._receive(body, assembly), body)
        except TimeoutError:
            raise PassingError(
                f"no end within {self._patience.deadline_s:g} s; {assembly.characters} characters came"
            ) from None
        finally:
            bill.add(assembly.spend())
        completions = assembly.completions()
        if not completions:
            raise PassingError("the reply has no choices")
        if not assembly.complete:
            raise PassingError(f"the reply was cut after {assembly.characters} characters")
        return Sample(completions, assembly.model)

    async def _receive(self, body: dict[str, Any], assembly: Assembly) -> None:
        import httpx2

        # What is not streamed is silent until it is all there.
        silence_s = self._patience.silence_s if "stream" in body else self._patience.deadline_s
        timeout = httpx2.Timeout(silence_s, connect=self._patience.connect_s)
        asked = self._client.chat.completions.with_streaming_response.create(**body, timeout=timeout)
        async with asyncio.timeout(self._patience.deadline_s), asked as response:
            chunks = sse.bounded(response.iter_bytes())
            kind = response.headers.get("content-type", "")
            if "stream" not in body or kind.startswith("application/json"):
                assembly.add(b"".join([chunk async for chunk in chunks]))
                assembly.ended = True
                return
            async with aclosing(sse.events(chunks)) as events:
                async for data in events:
                    if data.strip() == b"[DONE]":
                        assembly.ended = True
                        return
                    assembly.add(data)

    # ------------------------------------------------------------------------------------------- errors

    async def _translated(self, work: Awaitable[T], sent: dict[str, Any] | None) -> T:
        """Await ``work``, and turn the errors of packages and of ``wire`` into ours.

        Ours are raised outside of the handlers: a chained error would carry the server's words unredacted.

        Args:
            work: one HTTP request.
            sent: the chat request; None when the models are listed.
        """
        import httpx2
        import openai

        ours: Exception
        try:
            return await work
        except openai.APIStatusError as error:
            ours = self._refused(error, sent)
        except openai.APITimeoutError:
            ours = PassingError("the connection timed out")
        except openai.APIConnectionError as error:
            ours = PassingError(self.server.shown(cause(error)))
        except httpx2.TimeoutException:
            ours = PassingError(f"nothing came for {self._patience.silence_s:g} s")
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            ours = PassingError(f"the connection broke: {self.server.shown(cause(error))}")
        except UnreadableError as error:
            ours = PassingError(self.server.shown(str(error)))
        except ServerSaidError as error:
            ours = self._reported(error)
        except sse.OversizeError as error:
            ours = InfraError(f"{self.server.url} sent too much: {error}.", "use another server or model")
        raise ours

    def _refused(self, error: APIStatusError, sent: dict[str, Any] | None) -> Exception:
        if sent is None and error.status_code in _NO_LIST:
            return _NoListError()
        text = _said(error.body) or error.response.text
        if (
            sent is not None
            and error.status_code in (400, 422)
            and self._dialect.learn(sent, error.param, text)
        ):
            return _RefusedFieldError()
        codes = frozenset(str(code) for code in (error.code, error.type) if code)
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        return self._fault(Refusal(error.status_code, headers, codes, text))

    def _reported(self, error: ServerSaidError) -> Exception:
        """An error inside a reply: some servers put the status that it should have had into it."""
        status = next((int(code) for code in error.codes if re.fullmatch("[45][0-9][0-9]", code)), 500)
        return self._fault(Refusal(status, {}, error.codes, f"in its reply: {error.text}"))

    def _fault(self, refusal: Refusal) -> PassingError | KforgeError:
        return fault(refusal, self.server, self._clock.now(), self._patience.longest_wait_s)


class _NoListError(Exception):
    """The server does not list its models."""


def _said(body: object) -> str:
    """The message of an error body; the package takes the ``error`` object out of it where there is one."""
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else ""


def _listed(body: bytes) -> tuple[str, ...] | None:
    try:
        return tuple(model.id for model in from_json(_ModelList, body).data) or None
    except ValueError:
        return None


async def _all_of(requests: Iterable[Awaitable[Sample]]) -> list[Sample]:
    """All results, at the same time; the first failure ends the others."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
