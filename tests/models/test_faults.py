"""Every trouble a chat server can make: what is asked again, what is not, and what it cost."""

from __future__ import annotations

import json
import logging

import pytest

from kforge.errors import InfraError, MissingPrerequisite, NoMoreReplies, UsageError
from kforge.search.models.sampling import Patience
from kforge.search.models.wire import Spend
from tests.models.asking import HASTY, KEY, PROMPT_TOKENS, QUICK, Went, ask, everything_said
from tests.models.fault_server import (
    Act,
    counted,
    delta,
    drop,
    drop_after_headers,
    error,
    free_port,
    hang,
    reply,
    said,
    serving,
    stream,
    usage,
    whole,
)

PAID = Spend(10, 0, 0, 5)


def recovered(fault: Act) -> Went:
    """One fault, then a good reply: two requests, and the reply is that of the second."""
    with serving(fault, said("ok")) as server:
        went = ask(server)
    assert len(server.chats) == 2
    assert went.one.content == "ok"
    assert len(went.waits) == 1
    return went


def ended(fault: Act) -> Went:
    """A fault that is not asked again."""
    with serving(fault, said("never")) as server:
        went = ask(server)
    assert len(server.chats) == 1
    assert went.waits == []
    return went


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_passing_statuses_are_asked_again_and_cost_nothing(status: int) -> None:
    went = recovered(error(status, "busy"))
    assert went.spend == PAID
    assert 0.75 <= went.waits[0] <= 1.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Wed, 25 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 25 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
    ],
)
def test_retry_after_is_honoured(headers: dict[str, str], wait_s: float) -> None:
    assert recovered(error(429, "slow down", headers)).waits == [wait_s]
    assert recovered(error(503, "loading", headers)).waits == [wait_s]


@pytest.mark.parametrize("value", ["soon", "-4", "nan", "inf", "Wed, 99 Nov 2026 12:00:30 GMT"])
def test_a_retry_after_without_sense_is_passed_over(value: str) -> None:
    (wait_s,) = recovered(error(429, "slow down", {"Retry-After": value})).waits
    assert 0.75 <= wait_s <= 1.0


def test_a_wait_beyond_the_limit_ends_the_request() -> None:
    problem = ended(error(429, "come back later", {"Retry-After": "121"})).problem
    assert isinstance(problem, InfraError)
    assert "asks to wait 121 s, kforge waits 120 s at most" in problem.message
    assert "3 minutes" in problem.next_step


@pytest.mark.parametrize("where", ["code", "type"])
def test_spent_credit_is_not_asked_again(where: str) -> None:
    problem = ended(
        reply({"error": {"message": "You exceeded your quota", where: "insufficient_quota"}}, 429)
    ).problem
    assert isinstance(problem, InfraError)
    assert "no credit left" in problem.message
    assert "OPENAI_API_KEY" in problem.message


def test_a_server_that_says_so_is_not_asked_again() -> None:
    problem = ended(error(500, "broken for good", {"x-should-retry": "false"})).problem
    assert isinstance(problem, InfraError)
    assert "broken for good" in problem.message


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, UsageError, "does not take the request"),
        (401, MissingPrerequisite, "not accepted"),
        (402, NoMoreReplies, "no credit left"),
        (403, MissingPrerequisite, "not accepted"),
        (404, UsageError, "is not there"),
        (422, UsageError, "does not take the request"),
    ],
)
def test_lasting_statuses_name_the_server_its_words_and_the_fix(
    status: int, kind: type[Exception], words: str
) -> None:
    went = ended(error(status, "the server's own words"))
    assert type(went.problem) is kind
    for part in (words, "the server's own words", str(status), "http://127.0.0.1"):
        assert part in went.problem.message
    assert went.problem.next_step
    assert went.spend == Spend()


def test_attempts_run_out() -> None:
    with serving(always=error(500, "boom")) as server:
        went = ask(server)
    assert len(server.chats) == QUICK.attempts
    assert isinstance(went.problem, InfraError)
    assert "failed 4 times" in went.problem.message
    assert "boom" in went.problem.message
    assert [round(wait) for wait in went.waits] == [1, 2, 4] or sum(went.waits) < 7
    assert went.waits == sorted(went.waits)


@pytest.mark.parametrize("fault", [drop, drop_after_headers])
def test_dropped_connections(fault: Act) -> None:
    assert recovered(fault).spend == PAID


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_listens(host: str) -> None:
    went = ask(f"http://{host}:{free_port()}/v1", patience=Patience(attempts=2))
    assert isinstance(went.problem, InfraError)
    assert "Connection refused" in went.problem.message


def test_silence_is_ended_by_the_gap() -> None:
    with serving(hang, said("ok")) as server:
        went = ask(server, patience=HASTY)
    assert (len(server.chats), went.one.content, went.spend) == (2, "ok", PAID)


def test_a_slow_drip_passes_the_gap_and_meets_the_deadline() -> None:
    drip = stream(*[delta("drop")] * 50, pause_s=0.1)
    with serving(drip, said("ok")) as server:
        went = ask(server, patience=HASTY)
    assert (len(server.chats), went.one.content) == (2, "ok")
    assert went.spend.estimated
    assert PAID.prompt_tokens + PROMPT_TOKENS == went.spend.prompt_tokens
    assert 5 + 2 <= went.spend.completion_tokens <= 5 + 15


def test_a_deadline_is_named() -> None:
    with serving(always=stream(*[delta("x")] * 50, pause_s=0.1)) as server:
        went = ask(server, patience=Patience(attempts=1, silence_s=20, deadline_s=0.5))
    assert "no end within 0.5 s" in went.problem.message
    assert len(server.chats) == 1


@pytest.mark.parametrize("cut", [True, False])
def test_a_cut_stream_is_asked_again_and_what_came_is_counted(cut: bool) -> None:
    went = recovered(stream(delta("A" * 40), delta("B" * 41), done=False, cut=cut))
    assert went.spend == Spend(10 + PROMPT_TOKENS, 0, 0, 5 + 21, estimated=True)


def test_a_stream_cut_before_output_costs_nothing() -> None:
    assert recovered(stream(done=False, cut=True)).spend == PAID


def test_a_cut_stream_counts_at_least_what_its_server_counted() -> None:
    piece = delta("A" * 40) | {"usage": usage(30, 25)}
    assert recovered(stream(piece, done=False, cut=True)).spend == Spend(40, 0, 0, 30, estimated=True)


def test_a_stream_without_done_is_whole_when_its_choices_ended() -> None:
    with serving(stream(delta("all"), delta(finish="stop"), done=False)) as server:
        assert ask(server).one.content == "all"


@pytest.mark.parametrize("code", [500, "server_error", None])
def test_an_error_event_is_asked_again(code: object) -> None:
    event = {"error": {"message": "engine died", "type": "InternalServerError", "code": code}}
    went = recovered(stream(delta("A" * 40), event, done=False))
    assert went.spend == Spend(10 + PROMPT_TOKENS, 0, 0, 5 + 10, estimated=True)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"code": "insufficient_quota"}, NoMoreReplies),
        ({"code": 429, "type": "insufficient_quota"}, NoMoreReplies),
        ({"code": 401}, MissingPrerequisite),
        ({"code": "404"}, UsageError),
    ],
)
def test_an_error_event_may_be_lasting(fields: dict[str, object], kind: type[Exception]) -> None:
    assert type(ended(stream({"error": {"message": "no", **fields}})).problem) is kind


@pytest.mark.parametrize(
    "body",
    [
        b"{\"choices\": [", b"<html>Bad gateway</html>", b"", b"42", b"[]", b"\xff\xfe\x00", b"null",
        b"{\"choices\": \"many\"}", b"{\"choices\": [{\"message\": {\"content\": 7}}]}", b"[" * 5000,
    ],
)  # fmt: skip
def test_a_body_that_is_no_reply_is_asked_again(body: bytes) -> None:
    assert recovered(reply(body)).spend == PAID


@pytest.mark.parametrize("choices", [None, []])
def test_a_reply_without_choices_is_asked_again_and_its_count_is_paid(choices: object) -> None:
    went = recovered(reply({"choices": choices, "usage": usage(10, 3)}))
    assert went.spend == Spend(20, 0, 0, 8)
    assert recovered(reply({"choices": choices})).spend == PAID


@pytest.mark.parametrize(
    "line",
    [
        b"data: {\"choices\": [\n\n", b"data: 42\n\n", b"data: \xff\xfe\n\n", b"data: \"text\"\n\n",
        b"data: {\"choices\": [{\"index\": \"first\"}]}\n\n", b"data: {\"choices\": 5}\n\n",
    ],
)  # fmt: skip
def test_hostile_events_are_asked_again(line: bytes) -> None:
    recovered(stream(delta("A" * 4), line))


def test_harmless_oddities_of_streams_are_passed_over() -> None:
    events = (
        b": keep-alive\n\n", b"event: ping\nid: 7\nretry: 10\n\n", b"data: {}\n\n", b"\n\n\n",
        b"data: {\"choices\": null, \"usage\": \"lots\"}\r\n\r\n", b"nonsense\n\n",
        b"data:" + json.dumps(delta("one ")).encode() + b"\n\n", delta("two"), delta(finish="stop"),
        counted(10, 5),
    )  # fmt: skip
    with serving(stream(*events)) as server:
        went = ask(server)
    assert (went.one.content, went.spend, len(server.chats)) == ("one two", PAID, 1)


def test_ten_megabytes_are_a_reply_like_any_other() -> None:
    text = "0123456789" * 1_000_000
    quiet = Patience(deadline_s=20, silence_s=20)
    with serving(reply(whole(text, counts=usage(10, 5)))) as server:
        assert ask(server, patience=quiet).one.content == text
    pieces = [delta(text[:100_000])] * 100
    with serving(stream(*pieces, delta(finish="stop"))) as server:
        went = ask(server, patience=quiet)
    assert len(went.one.content) == 10_000_000
    assert went.spend == Spend(PROMPT_TOKENS, 0, 0, 2_500_000, estimated=True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_the_key_is_in_no_error_and_no_log_record(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(always=error(status, f"Incorrect API key provided: {KEY}\n\x1b[31m")) as server:
        went = ask(server)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    shown = everything_said(went.problem, caplog)
    assert KEY not in shown
    assert "[key]" in went.problem.message
    assert "\x1b" not in went.problem.message
    assert caplog.records


def test_the_key_is_not_shown_from_streams_and_bodies(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for act in (
        stream({"error": {"message": f"bad {KEY}", "code": 500}}),
        reply(f'"{KEY}"'.encode()),
        stream(f"data: {{{KEY}\n\n".encode()),
        reply(f"{KEY}".encode(), 500),
    ):
        with serving(always=act) as server:
            went = ask(server)
        assert KEY not in everything_said(went.problem, caplog)
