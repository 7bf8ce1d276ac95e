"""Every mistake ends as one message with what to type next, and the exit code of the contract."""

from __future__ import annotations

import json

import pytest

from tests.cli.terminal import TASK, Terminal

WRONG = {
    "no such command": (["frob"], "kforge --help"),
    "mistyped command": (["tasks", "sho"], "Did you mean 'show'?"),
    "no such option": (["evolve", "--evalz", "3"], "--evals"),
    "not a number": (["evolve", "--task", "kb/L1/88", "--evals", "many"], "--evals"),
    "missing argument": (["report"], "kforge report --help"),
    "missing option": (["eval", "mine.py"], "--task"),
    "nothing to do": (["evolve"], "kforge tasks list"),
    "new run without task": (["evolve", "--run", "r"], "--resume r"),
    "both names": (["evolve", "--run", "a", "--resume", "b"], "--resume b"),
    "unknown task": (["tasks", "show", "kb/L2/18"], "kb/L2/17"),
    "unknown task of a search": (["evolve", "--task", "kb/L2/18"], "kb/L2/17"),
    "no such file": (["tasks", "show", "./none.py"], "none.py"),
    "directory for a task": (["tasks", "show", "."], "directory"),
    "unknown size": (["tasks", "show", "kb/L2/17", "--size", "huge"], "full, small"),
    "unknown track": (["eval", "mine.py", "--task", "./mine.py", "--track", "closed"], "--track sealed"),
    "unknown language": (["evolve", "--task", "kb/L1/88", "--language", "rust"], "--language sycl"),
    "in order by exchange": (
        ["evolve", "--task", "kb/L1/19", "--size", "small", "--model", "exchange:mail", "--in-order"],
        "--stop-when-waiting",
    ),
    "unknown model": (["evolve", "--task", "kb/L1/88", "--model", "gpt"], "--model offline"),
    "exchange without a directory": (
        ["evolve", "--task", "kb/L1/88", "--model", "exchange:"],
        "exchange:DIR",
    ),
    "offline with something": (["evolve", "--task", "kb/L1/88", "--model", "offline:x"], "--model offline"),
    "a file for a directory": (
        ["evolve", "--task", "kb/L1/88", "--model", "exchange:mine.py"],
        "cannot be made",
    ),
    "no evaluations": (["evolve", "--task", "kb/L1/88", "--evals", "0"], "--evals 1"),
    "negative time": (["evolve", "--task", "kb/L1/88", "--minutes", "-1"], "--minutes"),
    "no time at all": (["evolve", "--task", "kb/L1/88", "--minutes", "nan"], "--minutes"),
    "nothing in flight": (["evolve", "--task", "kb/L1/88", "--in-flight", "0"], "--in-flight"),
    "huge seed": (["evolve", "--task", "kb/L1/88", "--seed", "9" * 30], "--seed"),
    "unknown strategy": (
        ["evolve", "--task", "kb/L1/88", "--strategy", "best"],
        "--strategy default, or one of",
    ),
    "bad task name": (["tasks", "add", "mine.py", "--name", "Bad Name"], "lower-case"),
    "other database": (["runs", "list", "--store", "mysql://x"], "postgresql://"),
    "store in memory": (["runs", "list", "--store", ":memory:"], "memory"),
    "empty store": (["runs", "list", "--store", ""], "--store FILE.sqlite"),
    "no such candidate file": (["eval", "none.py", "--task", "kb/L1/88"], "none.py"),
    "directory for a candidate": (["eval", ".", "--task", "kb/L1/88"], "directory"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(kforge: Terminal, name: str) -> None:
    arguments, hint = WRONG[name]
    done = kforge(*arguments, "--json")
    assert done.code == 2
    assert done.err == f"error: {done.error['message']}\n  next: {done.error['next']}\n"
    assert hint.lower() in done.err.lower()


def test_without_json_stdout_stays_empty(kforge: Terminal) -> None:
    done = kforge("tasks", "show", "kb/L2/18")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: No task has the id 'kb/L2/18'")
    assert "\n  next: " in done.err


def test_a_wrong_option_leaves_no_run_behind(kforge: Terminal) -> None:
    # Else the corrected command would be told that run r began otherwise.
    assert kforge("evolve", "--task", "kb/L1/88", "--run", "r", "--model", "gpt").code == 2
    assert kforge("evolve", "--task", "kb/L1/88", "--run", "r", "--device", "frob").code == 2
    listed = kforge("runs", "list", "--json")
    assert (listed.code, listed.document) == (0, [])


@pytest.mark.parametrize("command", [["report"], ["runs", "show"], ["evolve", "--resume"]], ids=" ".join)
def test_an_unknown_run(kforge: Terminal, command: list[str]) -> None:
    assert kforge("doctor", "--json").document  # makes the store
    done = kforge(*command, "nope", "--json")
    assert (done.code, done.error["code"]) == (2, "usage")
    assert "nope" in done.error["message"]
    assert done.error["next"] == "kforge runs list"


def test_no_arguments_show_help(kforge: Terminal) -> None:
    done = kforge()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: kforge")
    assert kforge("tasks").err.startswith("Usage: kforge tasks")


BROKEN_TASKS = {
    "empty": (b"", "Model"),
    "binary": (bytes(range(256)), "UTF-8"),
    "syntax": (b"import torch\ndef (:\n", "line 2"),
    "raises": (TASK.encode() + b"\nWRONG = 1 / 0\n", "ZeroDivisionError"),
    "no init inputs": (TASK.replace("get_init_inputs", "other").encode(), "get_init_inputs"),
    "forward raises": (TASK.replace("x * 2.0", "x @ torch.ones(3, 3)").encode(), "forward"),
    "exits": (TASK.replace("return x * 2.0", "import os; os._exit(0)").encode(), "lost"),
    "prints JSON": (TASK.replace("return x * 2.0", "print('{\"result\": 1}'); return 3").encode(), "forward"),
}


@pytest.mark.parametrize("name", BROKEN_TASKS)
def test_a_broken_task_file(kforge: Terminal, name: str) -> None:
    content, hint = BROKEN_TASKS[name]
    (kforge.cwd / "broken.py").write_bytes(content)
    done = kforge("tasks", "show", "./broken.py", "--json")
    assert (done.code, done.error["code"]) == (2, "task")
    assert hint in done.error["message"] + done.error["next"]
    assert "broken.py" in done.error["message"]


def test_a_task_file_of_50_mb(kforge: Terminal) -> None:
    with (kforge.cwd / "big.py").open("wb") as file:
        file.truncate(50_000_000)
    done = kforge("tasks", "add", "big.py", "--json")
    assert (done.code, done.error["code"]) == (2, "task")
    assert "large" in done.error["message"]


def test_own_tasks(kforge: Terminal) -> None:
    shown = kforge("tasks", "show", "./mine.py", "--json")
    assert shown.code == 0, shown.err
    assert shown.document["workloads"][0]["inputs"][0]["tensor"]["shape"] == [64, 64]
    added = kforge("tasks", "add", "mine.py", "--json")
    assert (added.code, added.document["id"]) == (0, "user/mine")
    again = kforge("tasks", "add", "mine.py")
    assert again.code == 2
    assert "exists" in again.err
    listed = json.loads(kforge("tasks", "list", "--json").out)
    assert "user/mine" in [task["id"] for task in listed]
    assert len([task for task in listed if task["id"].startswith("kb/")]) >= 12
    text = kforge("tasks", "show", "user/mine")
    assert "class Model" in text.out
