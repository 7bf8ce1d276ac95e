"""A real vLLM that serves a model trained here writes a verified kernel, as ``vllm:`` and as ``openai:``.

``KFORGE_VLLM_PYTHON`` names a Python with vLLM (docs/vllm.md says how to make one); ``KFORGE_VLLM_MODEL`` a
folder that ``benchmarks/tiny_model/train.py`` has written, to save the training.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.terminal import ROOT, Terminal, environment
from tests.vllm.served import KEY, Served, free_port

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.sycl, pytest.mark.timeout(900)]

TRAIN = ROOT / "benchmarks" / "tiny_model" / "train.py"
SEARCH = (
    "evolve", "--task", "kb/L1/19", "--size", "small", "--temperature", "0.7", "--max-reply-tokens", "1000",
    "--store", "s.sqlite", "--json",
)  # fmt: skip


class Asked(NamedTuple):
    """A stored proposal that was answered."""

    model: str
    reply: str
    reasoning: str
    prompt_tokens: int
    completion_tokens: int


@pytest.fixture(scope="session")
def python() -> str:
    path = os.environ.get("KFORGE_VLLM_PYTHON")
    if not path:
        pytest.skip("KFORGE_VLLM_PYTHON names no Python with vLLM; docs/vllm.md says how to make one")
    return path


@pytest.fixture(scope="session")
def model(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("KFORGE_VLLM_MODEL")
    if given:
        return Path(given).absolute()
    out = tmp_path_factory.mktemp("model")
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(TRAIN), str(out)], env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def server(python: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(python, model, free_port(), tmp_path_factory.mktemp("server") / "log")
    try:
        served.wait()
        yield served
    finally:
        served.kill()


@pytest.fixture
def kforge(tmp_path: Path, cache: Path) -> Terminal:
    env = environment(tmp_path / "home", cache)
    return Terminal(tmp_path, {**env, "VLLM_API_KEY": KEY, "OPENAI_API_KEY": KEY})


def asked(kforge: Terminal) -> list[Asked]:
    """The answered proposals of the only run, in the order of the store."""
    query = """
        select p.model, r.content, t.content, p.prompt_tokens, p.completion_tokens from proposals p
        join texts r on r.hash = p.reply_hash left join texts t on t.hash = p.reasoning_hash
        where p.state = 'replied' order by p.ordinal
    """
    with closing(sqlite3.connect(kforge.cwd / "s.sqlite")) as store:
        return [
            Asked(name, bytes(reply).decode(), bytes(thought or b"").decode(), prompt, completion)
            for name, reply, thought, prompt, completion in store.execute(query)
        ]


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_a_served_model_writes_a_verified_kernel(kforge: Terminal, server: Served, kind: str) -> None:
    spec = f"vllm:tiny@{server.url}" if kind == "vllm" else "openai:tiny"
    base = f"{server.url}/v1"
    done = kforge(*SEARCH, "--model", spec, "--run", "r", "--evals", "4", OPENAI_BASE_URL=base)
    assert done.code == 0, done.err
    summary = done.document
    assert (summary["state"], summary["offline"]) == ("finished", False)
    rows = kforge("runs", "show", "r", "--store", "s.sqlite", "--json").document
    assert any(row["outcome"]["status"] == "passed" for row in rows), rows
    answered = asked(kforge)
    assert len(answered) >= 4
    for row in answered:
        assert row.model == f"{kind}:tiny"
        assert row.prompt_tokens > 1000  # as the server counts: the whole prompt
        assert row.completion_tokens > 0
        # The server takes the thoughts out, and kforge keeps them word for word beside the reply.
        assert row.reasoning.startswith(("ReLU ", "There ", "Each "))
        assert "<think>" not in row.reasoning + row.reply


def test_a_wrong_key_is_named_and_not_shown(kforge: Terminal, server: Served) -> None:
    done = kforge(*SEARCH, "--model", f"vllm:tiny@{server.url}", "--run", "r", VLLM_API_KEY="sk-other")
    assert done.code == 2
    assert "VLLM_API_KEY" in done.error["message"] + done.error["next"]
    assert "sk-other" not in done.out + done.err


def test_a_server_that_dies_ends_the_run_and_resume_goes_on(
    python: str, model: Path, kforge: Terminal, tmp_path: Path
) -> None:
    port = free_port()
    served = Served(python, model, port, tmp_path / "log")
    try:
        served.wait()
        driver = kforge.start(*SEARCH, "--model", f"vllm:tiny@{served.url}", "--run", "r", "--evals", "30")
        while not (before := _rows(kforge)):
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.2)
        served.kill()
        out, err = driver.communicate(timeout=400)
        assert driver.returncode == 3, err
        assert "Traceback" not in out + err
        assert "vllm:tiny" in out + err
        again = kforge("evolve", "--resume", "r", "--store", "s.sqlite", "--json")
        assert again.code == 3  # nobody is there, and that is said at once
        assert str(port) in again.error["message"]
        served = Served(python, model, port, tmp_path / "log")
        served.wait()
        told = len(_rows(kforge))
        resumed = kforge("evolve", "--resume", "r", "--store", "s.sqlite", "--json", "--evals", str(told + 2))
        assert resumed.code == 0, resumed.err
        after = _rows(kforge)
        assert after[: len(before)] == before
        assert len(after) >= told + 2
        assert [row["seq"] for row in after] == list(range(len(after)))
        assert len({row["candidate"] for row in after}) == len(after)
    finally:
        served.kill()


def _rows(kforge: Terminal) -> list[dict[str, object]]:
    """The run's evaluations; none while there is no run."""
    done = kforge("runs", "show", "r", "--store", "s.sqlite", "--json")
    return list(done.document) if done.code == 0 else []
