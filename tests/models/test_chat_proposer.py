"""A model as the proposer: what it needs, what it costs, and where its key goes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kforge.errors import InfraError, KforgeError, MissingPrerequisite, UsageError
from kforge.search.models.chat_proposer import ChatProposer
from kforge.search.models.prices import Price, PriceTable
from kforge.search.models.sampling import Sampling
from kforge.search.models.servers import Keys, openai_server, vllm_server
from kforge.search.models.specs import make_proposer
from kforge.search.proposer import ProposalRequest, Proposer, Reply
from tests.models.asking import HASTY, KEY, MESSAGES, PROMPT_TOKENS, QUICK, FixedClock, client_for, server_at
from tests.models.fault_server import (
    Act,
    counted,
    delta,
    drop,
    error,
    free_port,
    hang,
    listing,
    reply,
    said,
    serving,
    stream,
)

PRICES = PriceTable({"m": Price(input=1.0, output=10.0, cached_input=0.1, cache_write=1.25)})
REQUEST = ProposalRequest(MESSAGES, seed=7, ordinal=3, max_completion_tokens=100)


def proposer(
    url: str, kind: str = "openai", key: str | None = KEY, prices: PriceTable = PRICES
) -> ChatProposer:
    return ChatProposer(client_for(server_at(url, kind, key)), prices)


def with_proposer(made: ChatProposer, work: Callable[[ChatProposer], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401
    async def run() -> Any:  # noqa: ANN401
        try:
            return await work(made)
        finally:
            await made.close()

    return asyncio.run(run())


def prepared(made: ChatProposer) -> KforgeError | None:
    try:
        with_proposer(made, ChatProposer.prepare)
    except KforgeError as error:
        return error
    return None


def test_it_is_a_proposer() -> None:
    made: Proposer = proposer("http://127.0.0.1:1/v1")
    assert (made.name, made.offline, made.keeps_requests, made.unpriced) == ("openai:m", False, False, ())


def test_a_reply_says_what_it_cost() -> None:
    act = stream(delta("answer", reasoning="hm"), delta(finish="stop"), counted(1000, 50, cached_tokens=600, cache_write_tokens=100))  # fmt: skip  # noqa: E501
    with serving(act) as server:
        answer = with_proposer(proposer(server.url), lambda made: made.propose(REQUEST))
    usd = (300 * 1.0 + 600 * 0.1 + 100 * 1.25 + 50 * 10.0) / 1e6
    assert answer == Reply("answer", "hm", 1000, 50, answer.usd, None)
    assert answer.usd == pytest.approx(usd)
    assert "n" not in server.chats[0]
    assert server.chats[0]["max_completion_tokens"] == 100


def test_a_snapshot_that_answers_is_named() -> None:
    piece = delta("x", "stop") | {"model": "m-2026-11-01"}
    with serving(stream(piece), stream(piece | {"model": "m\x1b[31m"})) as server:

        async def twice(made: ChatProposer) -> list[Reply]:
            return [await made.propose(REQUEST), await made.propose(REQUEST)]

        first, second = with_proposer(proposer(server.url), twice)
    assert (first.model, second.model) == ("m-2026-11-01", None)


def test_earlier_attempts_are_paid_by_the_reply() -> None:
    cut = stream(delta("A" * 40), done=False, cut=True)

    async def asked(made: ChatProposer) -> list[Reply]:
        with pytest.raises(InfraError):
            await made.propose(REQUEST)
        return [await made.propose(REQUEST), await made.propose(REQUEST)]

    with serving(*[cut] * QUICK.attempts, always=said("ok")) as server:
        first, second = with_proposer(proposer(server.url), asked)
    assert len(server.chats) == QUICK.attempts + 2
    assert first.prompt_tokens == 10 + QUICK.attempts * PROMPT_TOKENS
    assert first.completion_tokens == 5 + QUICK.attempts * 10
    assert first.usd == pytest.approx((first.prompt_tokens * 1.0 + first.completion_tokens * 10.0) / 1e6)
    assert (second.prompt_tokens, second.completion_tokens) == (10, 5)


def test_a_quote_is_not_exceeded_by_one_request() -> None:
    quote = proposer("http://127.0.0.1:1/v1").quote(REQUEST)
    assert quote.tokens == 12 + 2 * 16 + 100
    assert quote.usd == pytest.approx((44 * 1.25 + 100 * 10.0) / 1e6)


def test_unknown_prices() -> None:
    nothing = PriceTable({})
    bought = proposer("http://127.0.0.1:1/v1", prices=nothing)
    own = proposer("http://127.0.0.1:1/v1", kind="vllm", prices=nothing)
    assert (bought.unpriced, own.unpriced) == (("openai:m",), ())
    assert bought.quote(REQUEST).usd == own.quote(REQUEST).usd == 0.0
    assert bought.quote(REQUEST).tokens > 0


# -------------------------------------------------------------------------------------------- preparing


def test_the_listed_model_is_found() -> None:
    with serving(listing("other", "m")) as server:
        assert prepared(proposer(server.url)) is None
    assert [(seen.method, seen.path) for seen in server.seen] == [("GET", "/v1/models")]
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "act",
    [error(404, "no"), error(405, "no"), error(500, "no"), error(501, "no"), error(429, "no"), listing(),
     reply(b"<html>"), reply({"models": []}), reply({"data": [{"name": "m"}]})],
)  # fmt: skip
def test_a_server_without_a_list_is_accepted(act: Act) -> None:
    with serving(act) as server:
        assert prepared(proposer(server.url)) is None
    assert len(server.seen) == 1


def test_a_missing_model_is_named_with_its_neighbours() -> None:
    with serving(listing("qwen3-coder-30b", "qwen3-8b", "llama")) as server:
        made = ChatProposer(client_for(vllm_server("qwen3-coder", server.url, Keys({}))), PRICES)
        problem = prepared(made)
    assert type(problem) is UsageError
    assert "'qwen3-coder'" in problem.message
    assert "qwen3-coder-30b" in problem.message
    assert f"curl {server.url}/models" in problem.next_step


def test_a_missing_key_is_named_before_any_network() -> None:
    with serving() as server:
        problem = prepared(proposer(server.url, key=None))
    assert type(problem) is MissingPrerequisite
    assert problem.next_step == "export OPENAI_API_KEY=..."
    assert server.seen == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted(status: int) -> None:
    with serving(error(status, f"bad key {KEY}")) as server:
        problem = prepared(proposer(server.url, kind="vllm"))
    assert type(problem) is MissingPrerequisite
    assert "export VLLM_API_KEY=" in problem.next_step
    assert KEY not in problem.message


@pytest.mark.parametrize(
    ("act", "words"),
    [(hang, "timed out|no answer|nothing came"), (drop, "."), (error(503, "loading"), "loading")],
)
def test_a_server_that_does_not_answer(act: Act, words: str) -> None:
    patience = HASTY if act is hang else QUICK
    with serving(always=act) as server:
        client = client_for(server_at(server.url, "vllm"), Sampling(patience=patience))
        problem = prepared(ChatProposer(client, PRICES))
    assert type(problem) is InfraError
    assert re.search(words, problem.message)
    assert server.url in problem.message
    assert problem.next_step == f"curl {server.url}/models; start it: vllm serve m"
    assert len(server.seen) == 1


def test_nobody_listens_and_no_such_host() -> None:
    refused = prepared(proposer(f"http://127.0.0.1:{free_port()}/v1"))
    assert type(refused) is InfraError
    assert "Connection refused" in refused.message
    unknown = prepared(proposer("http://no-such-host.invalid/v1"))
    assert type(unknown) is InfraError
    assert "no-such-host.invalid" in unknown.message


# -------------------------------------------------------------------------------------------------- keys


def test_no_child_process_inherits_a_key() -> None:
    show = "import os, sys; sys.stdout.write(repr(sorted(v for v in os.environ.values() if 'sk-' in v)))"
    saved = dict(os.environ)
    os.environ.update({"OPENAI_API_KEY": KEY, "VLLM_API_KEY": KEY + "-2"})
    try:
        made = make_proposer(
            ["openai:gpt-5", "openai:gpt-5-mini", "vllm:q@http://127.0.0.1:1"],
            clock=FixedClock(), environment=os.environ, prices=PRICES, sampling=Sampling(),
        )  # fmt: skip
        child = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    finally:
        os.environ.clear()
        os.environ.update(saved)
    assert child.stdout == "[]"
    assert made.name == "ensemble"


def test_a_key_is_taken_once_and_shared() -> None:
    environment = {"OPENAI_API_KEY": f" {KEY}\n", "OTHER": "stays"}
    keys = Keys(environment)
    assert keys.take("OPENAI_API_KEY") == keys.take("OPENAI_API_KEY") == KEY
    assert environment == {"OTHER": "stays"}
    assert Keys({"OPENAI_API_KEY": "  "}).take("OPENAI_API_KEY") is None


@pytest.mark.parametrize("key", ["sk-a b\nc", "sk-ü", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as caught:
        Keys({"OPENAI_API_KEY": key}).take("OPENAI_API_KEY")
    assert key not in caught.value.message


def test_where_models_are_asked() -> None:
    base = {"OPENAI_BASE_URL": "http://proxy:1/v1/"}
    assert openai_server("m", None, {}, Keys({})).url == "https://api.openai.com/v1"
    assert openai_server("m", None, base, Keys({})).url == "http://proxy:1/v1"
    assert openai_server("m", "http://other/v1", base, Keys({})).url == "http://other/v1"
    assert vllm_server("m", "http://box:8000", Keys({})).url == "http://box:8000/v1"
    assert vllm_server("m", "http://box:8000/v1/", Keys({})).url == "http://box:8000/v1"
    assert vllm_server("m", "http://box:8000/sub", Keys({})).url == "http://box:8000/sub/v1"


def test_only_openai_itself_insists_on_a_key() -> None:
    assert openai_server("m", None, {}, Keys({})).key is None
    assert openai_server("m", "http://other/v1", {}, Keys({})).key == "EMPTY"
    assert vllm_server("m", "http://other", Keys({})).key == "EMPTY"
    assert vllm_server("m", "http://other", Keys({"VLLM_API_KEY": KEY})).key == KEY
    assert KEY not in repr(openai_server("m", None, {}, Keys({"OPENAI_API_KEY": KEY})))
