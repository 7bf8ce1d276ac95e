"""``kforge evolve`` with a model behind HTTP: a real server on loopback, real kernels, real money tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.cli.test_exchange import CANDIDATE
from tests.models.fault_server import Act, FaultServer, counted, delta, error, reply, serving, stream

pytestmark = pytest.mark.sycl

KEY = "sk-secret-on-loopback-0123456789"
PRICES = """
[models."loop-1"]
input = 1000.0
output = 2000.0
dated = "2026-11-25"
source = "made up for this test"
"""
MODELS = reply({"object": "list", "data": [{"id": "loop-1", "object": "model"}]})


def says(content: str, reasoning: str = "Doubling is easy.") -> Act:
    """A streamed reply of 1,000 and 500 tokens."""
    thought = delta(None, reasoning_content=reasoning)
    return stream(thought, delta(content), delta(None, "stop"), counted(1000, 500))


def kernel(factor: str) -> str:
    return f"Here it is.\n\n```python\n{CANDIDATE.replace('FACTOR', factor)}```\n"


def search(server: FaultServer, *more: str) -> tuple[str, ...]:
    return (
        "evolve",
        "--task",
        "./mine.py",
        "--model",
        f"openai:loop-1@{server.url}",
        "--in-flight",
        "1",
        *more,
    )


def descendants(pid: int) -> Iterator[int]:
    """Processes below ``pid``, as /proc has them now."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return iter(below - {pid})


def test_faults_rows_and_spend_of_a_search(kforge: Terminal) -> None:
    (kforge.cwd / "prices.toml").write_text(PRICES)
    script = (
        MODELS,
        error(429, "slow down", {"Retry-After": "0"}),
        says("I would double every value, in one pass."),
        error(503, "busy", {"Retry-After": "0"}),
        says(kernel("2.0f"), reasoning="One pass, as said."),
        says(kernel("2.5f")),
    )
    with serving(*script, always=says(kernel("(1.0f + 1.0f)"))) as server:
        process = kforge.start(
            *search(
                server,
                "--evals",
                "4",
                "--run",
                "r",
                "--prices",
                "prices.toml",
                "--events",
                "e.jsonl",
                "--json",
            ),
            OPENAI_API_KEY=KEY,
        )
        environments = b""
        while process.poll() is None:
            for child in descendants(process.pid):
                try:
                    environments += Path(f"/proc/{child}/environ").read_bytes()
                except OSError:
                    continue
            time.sleep(0.1)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    summary = json.loads(out)
    statuses = dict(summary["statuses"])
    # On a busy machine a right kernel's time may settle on nothing.
    assert statuses.pop("passed", 0) + statuses.pop("unstable", 0) == 2
    assert statuses == {"parse_failed": 1, "check_failed": 1}
    assert len(server.chats) == 6, "four replies and two refusals"
    sent = [{name.lower(): value for name, value in seen.headers.items()} for seen in server.seen]
    assert {headers["authorization"] for headers in sent} == {f"Bearer {KEY}"}
    # Four replies at (1000 x 1000 + 500 x 2000) / 10^6 dollars: what could not be read costs as much.
    assert summary["usd"] == pytest.approx(4 * 2.0)
    assert (summary["prompt_tokens"], summary["completion_tokens"]) == (4000, 2000)
    by_kind = {a["name"]: a for a in summary["accounts"] if a["by"] == "kind"}
    assert (by_kind["first"]["parsed"], by_kind["reformat"]["parsed"]) == (0, 1)
    rows = kforge("runs", "show", "r", "--json").document
    assert [row["kind"] for row in rows][:2] == ["first", "reformat"]
    assert rows[0]["outcome"]["status"] == "parse_failed"
    # The key is nowhere but in the requests.
    assert b"PATH=" in environments, "children were seen"
    places = [kforge.cwd / "e.jsonl", *Path(kforge.env["KFORGE_HOME"]).rglob("*")]
    written = b"".join(path.read_bytes() for path in places if path.is_file())
    assert b"One pass, as said." in written, "reasoning is kept"
    for text in (environments, written, out.encode(), err.encode()):
        assert KEY.encode() not in text
    events = [json.loads(line) for line in (kforge.cwd / "e.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events][0 :: len(events) - 1] == ["run_started", "run_ended"]
    assert sum(event["usd"] for event in events if event["event"] == "reply_received") == pytest.approx(8.0)
    # The replies, in a file, make the same decisions: the outcomes are known by now.
    assert kforge("runs", "replies", "r", "--out", "r.jsonl").code == 0
    again = kforge(
        "evolve", "--task", "./mine.py", "--model", "replay:r.jsonl", "--in-flight", "1", "--evals", "4",
        "--run", "again", "--json",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert [e["objective"] for e in again.document["elites"]] == [e["objective"] for e in summary["elites"]]
    assert again.document["statuses"] == summary["statuses"]
    assert "no model was asked" in again.err


def test_what_is_missing_is_said_before_anything_starts(kforge: Terminal) -> None:
    task = ("evolve", "--task", "./mine.py", "--json")
    keyless = kforge(*task, "--model", "openai:gpt-5-mini", unset=("OPENAI_API_KEY", "OPENAI_BASE_URL"))
    assert (keyless.code, keyless.error["code"]) == (2, "missing")
    assert "export OPENAI_API_KEY" in keyless.error["next"]
    dead = kforge(*task, "--model", "vllm:m@http://127.0.0.1:1")
    assert (dead.code, dead.error["code"]) == (3, "infra")
    assert "127.0.0.1:1" in dead.error["message"]
    with serving(always=MODELS) as server:
        wrong = kforge(*task, "--model", f"vllm:loop-2@{server.url}")
        assert (wrong.code, wrong.error["code"]) == (2, "usage")
        assert "loop-1" in wrong.error["message"] + wrong.error["next"]
        unpriced = kforge(*task, "--model", f"openai:loop-1@{server.url}", "--usd", "1", OPENAI_API_KEY=KEY)
        assert (unpriced.code, unpriced.error["code"]) == (2, "usage")
        assert "price of" in unpriced.error["message"]
    mixed = kforge(*task, "--model", "offline", "--model", "vllm:m@http://127.0.0.1:1")
    assert mixed.code == 2
    assert kforge("runs", "list", "--json").document == []


def test_a_dry_run_prices_and_stores_nothing(kforge: Terminal) -> None:
    (kforge.cwd / "prices.toml").write_text(PRICES)
    with serving(always=MODELS) as server:
        command = search(server, "--evals", "10", "--usd", "200", "--prices", "prices.toml")
        done = kforge(*command, "--max-reply-tokens", "10000", "--dry-run", "--json", OPENAI_API_KEY=KEY)
    assert done.code == 0, done.err
    plan = done.document
    assert plan["request_usd"] == pytest.approx((plan["request_tokens"] - 10_000) * 1e-3 + 20.0)
    assert plan["run_usd"] == pytest.approx(10 * plan["request_usd"])
    assert plan["allowed_requests"] == int(200 / plan["request_usd"])
    assert [device["chosen"] for device in plan["devices"]].count(True) == 1
    assert plan["obstacles"] == []
    assert server.chats == []
    assert not (Path(kforge.env["KFORGE_HOME"]) / "kforge.sqlite").exists()


@pytest.mark.slow
def test_a_search_from_own_kernels_goes_on_when_events_cannot_be_written(kforge: Terminal) -> None:
    (kforge.cwd / "own.py").write_text(CANDIDATE.replace("FACTOR", "2.0f"))
    done = kforge(
        "evolve",
        "--task",
        "./mine.py",
        "--from",
        "own.py",
        "--evals",
        "1",
        "--events",
        "/dev/full",
        "--run",
        "own",
        "--json",
    )
    assert done.code == 0, done.err
    assert done.document["evaluations"] == 1
    assert done.err.count("--events /dev/full: No space left on device; the run goes on without it") == 1
    # Who is asked may change: now it is a model, and the search goes on from there.
    with serving(MODELS, always=says(kernel("(1.0f + 1.0f)"))) as server:
        more = kforge(
            "evolve", "--resume", "own", "--evals", "2", "--model", f"openai:loop-1@{server.url}", "--json",
            OPENAI_API_KEY=KEY,
        )  # fmt: skip
        assert len(server.chats) == 1
    assert more.code == 0, more.err
    assert more.document["evaluations"] == 2
    models = {account["name"] for account in more.document["accounts"] if account["by"] == "model"}
    assert models == {"file: own.py", "openai:loop-1: m"}, "the server calls it m"


def test_a_dry_run_of_own_kernels_asks_for_no_model(kforge: Terminal) -> None:
    (kforge.cwd / "own.py").write_text(CANDIDATE.replace("FACTOR", "2.0f"))
    plan = kforge("evolve", "--task", "./mine.py", "--from", "own.py", "--evals", "1", "--dry-run", "--json")
    assert (plan.code, plan.document["requests"], plan.document["run_usd"]) == (0, 0, 0.0)
    refused = kforge("evolve", "--task", "./mine.py", "--dry-run", "--max-reply-tokens", "-1", "--json")
    assert (refused.code, refused.error["code"]) == (2, "usage")
    assert "--max-reply-tokens is -1" in refused.error["message"]


def test_own_kernels_that_cannot_be_used_are_named(kforge: Terminal) -> None:
    (kforge.cwd / "cuda.py").write_text(CANDIDATE.replace('"sycl"', '"cuda"'))
    (kforge.cwd / "model.py").write_text("class ModelNew: pass\n")
    task = ("evolve", "--task", "./mine.py", "--json")
    for name, words in (
        ("cuda.py", "--language cuda"),
        ("model.py", "docs/candidate.md"),
        ("none.py", "path"),
    ):
        done = kforge(*task, "--from", name)
        assert (done.code, done.error["code"]) == (2, "usage")
        assert name in done.error["message"]
        assert words in done.error["next"]
    unwritable = kforge(*task, "--events", "no/such/dir/e.jsonl")
    assert (unwritable.code, unwritable.error["code"]) == (2, "usage")
    assert "no/such/dir/e.jsonl" in unwritable.error["message"]
