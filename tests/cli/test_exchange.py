"""``kforge evolve --model exchange:DIR`` for real: answered by hand, carried elsewhere, gone on with."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal

pytestmark = pytest.mark.sycl

CANDIDATE = '''
LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void twice(const float* x, float* y, long n) {
  auto it = sx::this_work_item::get_nd_item<1>();
  for (long i = it.get_global_id(0); i < n; i += it.get_global_range(0)) y[i] = FACTOR * x[i];
}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.launch("twice", grid=(4,), block=(64,), args=[x, y, x.numel()])
    return y
'''


def ids(mail: Path) -> list[str]:
    return sorted(path.name.removesuffix(".prompt.json") for path in mail.glob("*.prompt.json"))


def answer(mail: Path, prompt_id: str, factor: str) -> None:
    """As an agent does: a JSON file under a draft's name, then its own."""
    content = f"```python\n{CANDIDATE.replace('FACTOR', factor)}```\n"
    document = {"id": prompt_id, "content": content, "reasoning": "It doubles.", "model": "agent-9"}
    draft = mail / f".{prompt_id}.draft"
    draft.write_text(json.dumps(document))
    draft.rename(mail / f"{prompt_id}.answer.json")


def told(kforge: Terminal, *store: str) -> list[Any]:
    rows: list[Any] = kforge("runs", "show", "r", "--json", *store).document
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert len({row["candidate"] for row in rows}) == len(rows)
    return rows


@pytest.mark.slow
def test_a_run_is_answered_elsewhere_and_goes_on_there(kforge: Terminal) -> None:
    box, home = kforge.cwd / "box", kforge.cwd / "home"
    run = ("--store", "box/runs.sqlite", "--stop-when-waiting", "--json")
    first = kforge(
        "evolve", "--task", "./mine.py", "--run", "r", "--model", "exchange:box/mail", "--evals", "3",
        "--in-flight", "2", *run,
    )  # fmt: skip
    assert first.code == 0, first.err
    assert (first.document["state"], first.document["unanswered"]) == ("waiting", 2)
    assert (first.document["proposer"], first.document["offline"]) == ("exchange", False)
    assert f"waiting for 2 answers in {box / 'mail'}" in first.err
    asked = ids(box / "mail")
    assert len(asked) == 2
    assert (
        kforge("runs", "list", "--json", "--store", "box/runs.sqlite").document[0]["run"]["state"]
        == "waiting"
    )

    box.rename(home)
    answer(home / "mail", asked[0], "2.0f")
    (home / "mail" / f"{asked[1]}.answer.json").write_text("{")
    store = ("--store", "home/runs.sqlite")
    second = kforge("evolve", "--resume", "r", "--model", "exchange:home/mail", *store)
    assert second.code == 0, second.err
    assert f"answer rejected: {asked[1]}.answer.json" in second.err
    assert f"then: kforge evolve --resume r --model exchange:{home / 'mail'}" in second.out
    assert [row["candidate"] for row in told(kforge, *store)] == [0]
    assert ids(home / "mail")[:2] == asked
    assert not box.exists()

    answer(home / "mail", asked[1], "3.0f")
    answer(home / "mail", ids(home / "mail")[2], "(1.0f + 1.0f)")
    third = kforge("evolve", "--resume", "r", "--model", "exchange:home/mail", "--json", *store)
    assert third.code == 0, third.err
    assert (third.document["state"], third.document["evaluations"]) == ("finished", 3)
    statuses = dict(third.document["statuses"])
    # On a busy machine a right kernel's time may settle on nothing.
    assert statuses.pop("passed", 0) + statuses.pop("unstable", 0) == 2
    assert statuses == {"check_failed": 1}
    assert third.document["models"] == ["agent-9"]
    assert (third.document["proposals"], third.document["abandoned"]) == (3, 0)
    assert [row["candidate"] for row in told(kforge, *store)] == [0, 1, 2]

    more = kforge(
        "evolve", "--resume", "r", "--model", "exchange:home/mail", "--evals", "4", "--json", *store
    )
    assert (more.code, more.document["state"], more.document["unanswered"]) == (0, "waiting", 1)
    other = kforge("evolve", "--resume", "r", "--model", "offline", "--json", *store)
    assert (other.code, other.error["code"]) == (2, "usage")
    changed = kforge("evolve", "--resume", "r", "--seed", "5", "--json", *store)
    assert (changed.code, changed.error["code"]) == (2, "usage")
    assert "seed" in changed.error["message"]


@pytest.mark.slow
def test_ctrl_c_ends_a_wait_and_kill_9_loses_nothing(kforge: Terminal) -> None:
    mail = kforge.cwd / "mail"
    command = (
        "evolve",
        "--task",
        "./mine.py",
        "--run",
        "r",
        "--model",
        "exchange:mail",
        "--evals",
        "1",
        "--json",
    )
    driver = kforge.start(*command)
    while not (mail.exists() and ids(mail)):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    asked = ids(mail)

    waiting = kforge.start(*command)
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if "waiting for 1 answer in" in line:
            break
    os.kill(waiting.pid, signal.SIGINT)
    out, err = waiting.communicate(timeout=200)
    assert waiting.returncode == 0, err
    assert json.loads(out)["state"] == "interrupted"

    (mail / f"{asked[0]}.answer.md").write_text(f"```python\n{CANDIDATE.replace('FACTOR', '2.0f')}```\n")
    done = kforge(*command)
    assert (done.code, done.document["state"], done.document["statuses"]) == (0, "finished", {"passed": 1})
    assert (done.document["proposals"], done.document["abandoned"]) == (1, 0)
    assert ids(mail) == asked
