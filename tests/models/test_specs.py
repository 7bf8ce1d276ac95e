"""How proposers are named, alone and together."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from kforge.errors import InfraError, KforgeError, MissingPrerequisite, UsageError
from kforge.search.exchange import ExchangeProposer
from kforge.search.models.chat_proposer import ChatProposer
from kforge.search.models.ensemble import Ensemble
from kforge.search.models.prices import Price, PriceTable
from kforge.search.models.replay import ReplayProposer
from kforge.search.models.sampling import Sampling
from kforge.search.models.specs import PROPOSERS, lasting, make_proposer
from kforge.search.offline.proposer import OfflineProposer
from kforge.search.proposer import ProposalRequest, Proposer, Reply
from tests.models.asking import KEY, MESSAGES, QUICK, FixedClock
from tests.models.fault_server import error, free_port, listing, said, serving


def make(*specs: str, environment: dict[str, str] | None = None) -> Proposer:
    return make_proposer(
        specs,
        clock=FixedClock(),
        environment={"OPENAI_API_KEY": KEY} if environment is None else environment,
        prices=PriceTable({"m": Price(1.0, 10.0)}),
        sampling=Sampling(patience=QUICK),
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    file = tmp_path / "replies.jsonl"
    file.write_text("".join(f'{{"ordinal": {n}, "content": "r{n}"}}\n' for n in range(6)))
    return file


def test_every_kind_is_made(tmp_path: Path, recording: Path) -> None:
    assert isinstance(make("offline"), OfflineProposer)
    assert isinstance(make(f"exchange:{tmp_path}/mail"), ExchangeProposer)
    assert isinstance(make(f"replay:{recording}"), ReplayProposer)
    assert isinstance(make("openai:gpt-5"), ChatProposer)
    assert isinstance(make("vllm:q@http://127.0.0.1:8000"), ChatProposer)
    assert [kind.spec for kind in PROPOSERS.values()] == [
        "openai:MODEL[@URL]", "vllm:MODEL@URL", "replay:FILE", "exchange:DIR", "offline",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("openai:org/model:free", "openai:org/model:free"),
        ("openai:@cf/meta/llama", "openai:@cf/meta/llama"),
        ("openai:m@http://h/v1", "openai:m"),
        ("openai:@cf/meta/llama@https://h:8/v1", "openai:@cf/meta/llama"),
        ("vllm:Qwen/Qwen3-8B@http://h:8000", "vllm:Qwen/Qwen3-8B"),
    ],
)
def test_models_may_have_odd_names(spec: str, name: str) -> None:
    assert make(spec).name == name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "openai:MODEL[@URL], vllm:MODEL@URL, replay:FILE, exchange:DIR, offline"),
        ("gpt-5", "openai:MODEL[@URL]"),
        ("openai", "openai:MODEL[@URL]"),
        ("openai:", "openai:MODEL[@URL]"),
        ("offline:", "offline"),
        ("offline:x", "offline"),
        ("replay:", "replay:FILE"),
        ("exchange", "exchange:DIR"),
        ("vllm:m", "names no server"),
        ("vllm:m@localhost:8000", "no URL"),
        ("openai:m@ftp://h", "no URL"),
        ("openai:m@http://", "not the URL"),
        ("openai:m@http://h:99999/v1", "not the URL"),
        ("openai:m@http://h/v1 x", "not the URL"),
        ("openai:a b", "no model has such a name"),
        ("openai:a\x1b[31m", "no model has such a name"),
        ("openai:" + "m" * 201, "no model has such a name"),
    ],
)
def test_malformed_specs(spec: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(spec)
    assert words in caught.value.message
    assert caught.value.next_step
    assert lasting(spec) == spec


@pytest.mark.parametrize(
    "url", ["http://me:pass-word@h/v1", "http://h/v1?key=pass-word", "http://h/v1#pass-word"]
)
def test_credentials_in_a_url_are_refused_unseen(url: str) -> None:
    with pytest.raises(UsageError, match="would be stored") as caught:
        make(f"openai:m@{url}")
    assert "pass-word" not in caught.value.message + caught.value.next_step


def test_no_spec_at_all() -> None:
    with pytest.raises(UsageError, match="No proposer"):
        make()


def test_lasting_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lasting("exchange:mail") == f"exchange:{tmp_path}/mail"
    assert lasting("replay:a:b.jsonl") == f"replay:{tmp_path}/a:b.jsonl"
    assert lasting("replay:~/r") == f"replay:{Path.home()}/r"
    for spec in ("offline", "openai:m@http://h/v1", "vllm:m@http://h", "exchange:/a", "unknown:x"):
        assert lasting(spec) == spec


def test_naming_models_imports_no_client() -> None:
    code = (
        "import sys, kforge.search.models.specs; "
        "sys.exit(bool({'openai', 'httpx2', 'tenacity', 'ribs', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------------------------------- ensembles


def run_propose(made: Proposer, ordinals: range) -> list[Reply]:
    async def run() -> list[Reply]:
        try:
            requests = [ProposalRequest(MESSAGES, n, n, 50) for n in ordinals]
            answers = [await made.propose(request) for request in requests]
            return [answer for answer in answers if isinstance(answer, Reply)]
        finally:
            await made.close()

    return asyncio.run(run())


def problem_of(made: Proposer) -> KforgeError | None:
    async def run() -> None:
        try:
            await made.prepare()
        finally:
            await made.close()

    try:
        asyncio.run(run())
    except KforgeError as found:
        return found
    return None


def test_members_take_turns_by_ordinal(recording: Path) -> None:
    with serving(always=said("a")) as one, serving(always=said("b")) as two:
        specs = (f"openai:m@{one.url}", f"vllm:q@{two.url}", f"replay:{recording}")
        replies = run_propose(make(*specs), range(6))
        again = run_propose(make(*specs), range(4, 6))
    assert [answer.model for answer in replies] == ["openai:m", "vllm:q", "replay"] * 2
    assert [answer.content for answer in replies] == ["a", "b", "r2", "a", "b", "r5"]
    assert again == replies[4:]
    assert (len(one.chats), len(two.chats)) == (2, 3)


def test_what_an_ensemble_says_of_itself(recording: Path) -> None:
    made = make("openai:m", "openai:unlisted", "openai:unlisted", "vllm:q@http://127.0.0.1:1")
    assert isinstance(made, Ensemble)
    assert (made.name, made.offline, made.keeps_requests) == ("ensemble", False, False)
    assert made.unpriced == ("openai:unlisted",)
    quotes = [made.quote(ProposalRequest(MESSAGES, 1, n, 50)) for n in range(4)]
    assert [quote.usd > 0 for quote in quotes] == [True, False, False, False]
    assert len({quote.tokens for quote in quotes}) == 1
    assert make(f"replay:{recording}", f"replay:{recording}").offline


def test_all_missing_members_are_named_at_once() -> None:
    port = free_port()
    with serving(always=listing("m")) as good, serving(always=error(401, "no")) as bad:
        specs = [f"openai:m@{good.url}", f"openai:x@{bad.url}", f"vllm:q@http://127.0.0.1:{port}"]
        problem = problem_of(make(*specs))
        alone = problem_of(make(specs[0], specs[2]))
        fine = problem_of(make(specs[0], specs[0]))
    assert type(problem) is MissingPrerequisite
    for part in ("2 models cannot be used", bad.url, f"http://127.0.0.1:{port}/v1", "Connection refused"):
        assert part in problem.message
    assert "export OPENAI_API_KEY" in problem.next_step
    assert "vllm serve q" in problem.next_step
    assert type(alone) is InfraError
    assert fine is None


def test_a_missing_key_is_named_once() -> None:
    problem = problem_of(make("openai:gpt-5", "openai:gpt-5", environment={}))
    assert type(problem) is MissingPrerequisite
    assert problem.message.count("OPENAI_API_KEY") == 1


@pytest.mark.parametrize("other", ["offline", "exchange:DIR"])
def test_who_cannot_be_one_of_several(tmp_path: Path, other: str) -> None:
    spec = other.replace("DIR", str(tmp_path / "mail"))
    with pytest.raises(UsageError, match="cannot be one of several") as caught:
        make("openai:m", spec)
    assert caught.value.next_step == f"use --model {spec} alone"
    assert not (tmp_path / "mail").exists()
