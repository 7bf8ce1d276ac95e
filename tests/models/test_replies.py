"""What good and odd servers answer, and what is read from it."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.errors import InfraError, UsageError
from kforge.search.models.chat import Bill
from kforge.search.models.sampling import Patience, Sampling
from kforge.search.models.wire import Assembly, ServerSaidError, Spend, UnreadableError, split_thoughts
from tests.models.asking import MESSAGES, PROMPT_TOKENS, QUICK, ask, ask_often, client_for, server_at
from tests.models.fault_server import (
    Act,
    counted,
    delta,
    error,
    reply,
    said,
    serving,
    slowly,
    stream,
    usage,
    whole,
)


def test_a_request_streams_and_asks_for_the_count() -> None:
    with serving(said("hello")) as server:
        went = ask(server)
    assert (went.one.content, went.one.finish_reason, went.spend) == ("hello", "stop", Spend(10, 0, 0, 5))
    (seen,) = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "You write kernels."},
            {"role": "user", "content": "Write one, please."},
        ],
        "max_completion_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_temperature_and_seed_are_sent_when_configured() -> None:
    with serving(said("hello")) as server:
        ask(server, sampling=Sampling(temperature=0.5, seeded=True, patience=QUICK))
    assert (server.chats[0]["temperature"], server.chats[0]["seed"]) == (0.5, 7)


def test_cached_and_written_tokens_are_kept_apart() -> None:
    act = stream(delta("x", "stop"), counted(100, 5, cached_tokens=60, cache_write_tokens=30))
    with serving(act) as server:
        assert ask(server).spend == Spend(100, 60, 30, 5)
    absurd = stream(delta("x", "stop"), counted(100, 5, cached_tokens=600, cache_write_tokens=-3))
    with serving(absurd) as server:
        assert ask(server).spend == Spend(100, 100, 0, 5)


@pytest.mark.parametrize("counts", [None, "many", {"prompt_tokens": -1, "completion_tokens": 2}, {"x": 1}])
def test_a_missing_or_absurd_count_is_estimated(counts: object) -> None:
    piece = delta("A" * 41, "stop") | {"usage": counts}
    with serving(stream(piece)) as server:
        assert ask(server).spend == Spend(PROMPT_TOKENS, 0, 0, 11, estimated=True)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_in_a_field_is_kept_word_for_word(name: str) -> None:
    thought = "  First…\n\nthen <b>.\n"
    pieces = [delta(None, **{name: thought[:5]}), delta(None, **{name: thought[5:]})]  # type: ignore[arg-type]
    streamed = stream(*pieces, delta("answer"), delta(finish="stop"))
    at_once = reply(whole("answer", **{name: thought}))  # type: ignore[arg-type]
    for act in (streamed, at_once):
        with serving(act) as server:
            went = ask(server)
        assert (went.one.content, went.one.reasoning) == ("answer", thought)


def test_reasoning_under_both_names_is_not_doubled() -> None:
    with serving(stream(delta("a", "stop", reasoning="t", reasoning_content="t"))) as server:
        assert ask(server).one.reasoning == "t"


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>a\nb</think>\nc", "a\nb", "\nc"),
        ("\n <think>a</think>c<think>d</think>", "a", "c<think>d</think>"),
        ("<think>never closed", "never closed", ""),
        ("opened in the prompt</think>c", "opened in the prompt", "c"),
        ("c", "", "c"),
        ("c <think>d", "", "c <think>d"),
        ("", "", ""),
    ],
)
def test_inline_thoughts(text: str, reasoning: str, content: str) -> None:
    assert split_thoughts(text) == (reasoning, content)
    pieces = [delta(letter) for letter in text]
    with serving(stream(*pieces, delta("", "stop"))) as server:
        went = ask(server)
    assert (went.one.reasoning, went.one.content) == (reasoning, content)


def test_a_reply_that_only_thought_is_kept_because_it_was_paid() -> None:
    body = whole(None, reasoning="hm", counts=usage(10, 100))
    body["choices"][0]["finish_reason"] = "length"
    with serving(reply(body)) as server:
        went = ask(server)
    assert (went.one.content, went.one.reasoning, went.one.finish_reason) == ("", "hm", "length")
    assert (went.spend, len(server.chats)) == (Spend(10, 0, 0, 100), 1)
    with serving(reply(whole(None, counts=usage(10, 0)))) as server:
        assert (ask(server).one.content, len(server.chats)) == ("", 1)


def test_a_server_that_ignores_streaming_is_understood() -> None:
    with serving(reply(whole("at once", counts=usage(10, 5)))) as server:
        went = ask(server)
    assert (went.one.content, went.spend, len(server.chats)) == ("at once", Spend(10, 0, 0, 5), 1)


def test_several_completions_of_one_request() -> None:
    pieces = [delta(text, index=n) for text in ("a", "b") for n in (2, 0, 1)]
    ends = [delta(finish="stop", index=n) for n in range(3)]
    with serving(stream(*pieces, *ends, counted(10, 6))) as server:
        went = ask(server, n=3)
    assert (went.contents, went.spend) == (["ab"] * 3, Spend(10, 0, 0, 6))
    assert [chat.get("n") for chat in server.chats] == [3]


def test_a_server_that_ignores_n_is_topped_up_once_it_is_known() -> None:
    with serving(always=said("one")) as server:
        first, second = ask_often(server, 2, n=3, sampling=Sampling(seeded=True, patience=QUICK))
    assert first.contents == second.contents == ["one"] * 3
    assert [chat.get("n") for chat in server.chats] == [3, None, None, None, None, None]
    assert sorted(chat["seed"] for chat in server.chats) == [7, 7, 8, 8, 9, 9]
    assert first.spend == second.spend == Spend(30, 0, 0, 15)


def test_more_than_asked_for_is_cut_and_paid() -> None:
    with serving(reply(whole("a", "b", "c", counts=usage(10, 9)))) as server:
        went = ask(server)
    assert (went.contents, went.spend) == (["a"], Spend(10, 0, 0, 9))


def test_a_failed_top_up_ends_the_others() -> None:
    with serving(said("one"), always=error(401, "no")) as server:
        went = ask(server, n=4)
    assert went.error is not None
    assert went.spend == Spend(10, 0, 0, 5)
    assert 2 <= len(server.chats) <= 4


def test_no_more_requests_at_a_time_than_allowed() -> None:
    async def run(url: str) -> None:
        client = client_for(server_at(url), Sampling(concurrency=2, patience=QUICK))
        await asyncio.gather(*(client.sample(MESSAGES, 1, n, 10, Bill()) for n in range(6)))
        await client.close()
        await client.close()

    with serving(always=slowly(said("ok"), 0.05)) as server:
        asyncio.run(run(server.url))
    assert (len(server.chats), server.most_under_way) == (6, 2)


def test_a_cancelled_call_is_on_the_bill() -> None:
    async def run(url: str) -> Spend:
        client, bill = client_for(server_at(url)), Bill()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await client.sample(MESSAGES, 1, 7, 10, bill)
        await client.close()
        return bill.spend

    with serving(stream(delta("A" * 40), *[delta("")] * 50, pause_s=0.1)) as server:
        assert asyncio.run(run(server.url)) == Spend(PROMPT_TOKENS, 0, 0, 10, estimated=True)


# --------------------------------------------------------------------------------------------- dialects

_STREAM = {"stream", "stream_options"}
REFUSALS = [
    (error(400, "Unrecognized request argument supplied: stream_options"), _STREAM),
    (error(400, "stream_options: extra inputs", param="stream_options"), _STREAM),
    (error(400, "Your organization must be verified to stream this model.", param="stream"), _STREAM),
    (error(422, "unsupported: max_completion_tokens"), {"max_completion_tokens"}),
    (error(400, "Unknown parameter", param="max_completion_tokens"), {"max_completion_tokens"}),
    (
        error(400, "'temperature' does not support 0.5. Only the default (1).", param="temperature"),
        {"temperature"},
    ),
    (error(400, "seed is not supported on this engine"), {"seed"}),
    (reply({"detail": [{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]}, 422), {"seed"}),
]  # fmt: skip


@pytest.mark.parametrize(("refusal", "fields"), REFUSALS)
def test_a_refused_field_costs_one_request_per_process(refusal: Act, fields: set[str]) -> None:
    with serving(refusal, always=reply(whole("ok", counts=usage(10, 5)))) as server:
        wents = ask_often(server, 3, sampling=Sampling(temperature=0.5, seeded=True, patience=QUICK))
    assert [went.contents for went in wents] == [["ok"]] * 3
    assert all(went.spend == Spend(10, 0, 0, 5) and went.waits == [] for went in wents)
    first, *later = server.chats
    assert len(later) == 3
    assert fields <= first.keys()
    for body in later:
        assert fields.isdisjoint(body)
        assert body.get("max_tokens", body.get("max_completion_tokens")) == 100
        assert (first.keys() - fields) <= body.keys()


def test_a_server_may_refuse_everything_one_by_one() -> None:
    names = ("stream_options", "max_completion_tokens", "temperature", "seed")
    refusals = [error(400, "unknown field", param=name) for name in names]
    with serving(*refusals, always=reply(whole("ok", counts=usage(10, 5)))) as server:
        wents = ask_often(server, 2, sampling=Sampling(temperature=0.5, seeded=True, patience=QUICK))
    assert [went.contents for went in wents] == [["ok"]] * 2
    assert len(server.chats) == 4 + 2
    assert server.chats[-1].keys() == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize(
    "message",
    ["max_completion_tokens is too large: 100", "temperature must be between 0 and 0.3", "bad prompt"],
)
def test_a_refused_value_is_the_users_to_correct(message: str) -> None:
    with serving(always=error(400, message)) as server:
        went = ask(server, sampling=Sampling(temperature=0.5, patience=QUICK))
    assert len(server.chats) == 1
    assert message in went.problem.message


# ------------------------------------------------------------------------------------------ any bytes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["choices", "usage", "model", "delta", "message", "index", "content", "finish_reason"]
)
bodies = st.dictionaries(names, json_values | st.lists(st.dictionaries(names, json_values), max_size=2))


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40) | bodies.map(lambda body: json.dumps(body).encode()), max_size=4))
def test_no_bytes_break_the_reader(datas: list[bytes]) -> None:
    assembly = Assembly(10)
    for data in datas:
        with contextlib.suppress(UnreadableError, ServerSaidError):
            assembly.add(data)
    assert assembly.spend().completion_tokens >= 0
    assert len(assembly.completions()) <= 8


def test_a_repeated_request_in_a_refusal_is_not_read_as_one() -> None:
    echo = "bad prompt " + "." * 400 + " stream_options seed temperature"
    with serving(error(400, echo), always=said("ok")) as server:
        first, second = ask_often(server, 2)
    assert "bad prompt" in first.problem.message
    assert second.contents == ["ok"]
    assert "stream" in server.chats[1]


def test_reasoning_of_another_shape_is_passed_over() -> None:
    piece = {
        "choices": [{"delta": {"content": "a", "reasoning": {"effort": "high"}}, "finish_reason": "stop"}]
    }
    with serving(stream(piece)) as server:
        went = ask(server)
    assert (went.one.content, went.one.reasoning) == ("a", "")


def test_whole_replies_may_take_as_long_as_the_deadline() -> None:
    at_once = slowly(reply(whole("ok", counts=usage(10, 5))), 0.8)
    with serving(error(400, "no stream_options"), at_once) as server:
        went = ask(server, patience=Patience(silence_s=0.5, deadline_s=20))
    assert (went.contents, went.waits) == (["ok"], [])


@pytest.mark.parametrize("temperature", [-0.1, 2.1, float("nan"), float("inf")])
def test_a_temperature_that_nobody_takes(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        Sampling(temperature=temperature)
    with pytest.raises(UsageError, match="0 requests at a time"):
        Sampling(concurrency=0)


def test_top_up_rounds_are_bounded() -> None:
    none = reply({"choices": [], "usage": usage(1, 0)})
    with serving(always=none) as server:
        went = ask(server, n=2)
    assert isinstance(went.error, InfraError)
    assert len(server.chats) == QUICK.attempts
