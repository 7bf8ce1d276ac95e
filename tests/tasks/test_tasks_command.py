"""``kforge tasks pull`` and ``list`` as a person types them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, environment

NOBODY = "http://127.0.0.1:1"  # a proxy that does not answer: no network


@pytest.fixture
def kforge(tmp_path: Path) -> Terminal:
    desk = tmp_path / "desk"
    desk.mkdir()
    return Terminal(desk, environment(tmp_path / "home", tmp_path / "cache"))


def pulled(kforge: Terminal) -> list[str]:
    """What a pull left in the cache."""
    sets = Path(kforge.env["KFORGE_CACHE"]) / "tasks"
    return [place.name for place in sets.iterdir()] if sets.exists() else []


@pytest.mark.parametrize("name", ["kernelbench", "robust-kbench"])
def test_without_a_network_the_next_step_needs_none(kforge: Terminal, name: str) -> None:
    done = kforge("tasks", "pull", name, "--json", https_proxy=NOBODY, no_proxy="")
    assert done.code == 3
    assert "Cannot download https://codeload.github.com/" in done.error["message"]
    assert f"kforge tasks pull {name} --from DIR" in done.error["next"]
    assert pulled(kforge) == []


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["pull", "kernelbench", "--from", "nowhere"], "git clone"),
        (["pull", "kernelbench", "--from", "."], "git clone"),
        (["pull", "kernelbench", "--unpinned"], "--from"),
        (["pull", "kernelbenhc"], "kernelbench"),
        (["list", "--level", "5"], "--level 1"),
        (["show", "kb/L3/49"], "kforge tasks pull kernelbench"),
        (["show", "rkb/layernorm"], "kforge tasks pull robust-kbench"),
    ],
)
def test_a_mistake_says_what_to_type(kforge: Terminal, arguments: list[str], hint: str) -> None:
    done = kforge("tasks", *arguments, "--json")
    assert done.code == 2
    assert hint in done.error["next"]
    assert pulled(kforge) == []


def test_the_embedded_tasks_are_listed(kforge: Terminal) -> None:
    listed = kforge("tasks", "list", "--json").document
    assert len(listed) == 26
    assert {task["id"].rpartition("/")[0] for task in listed} == {"kb/L1", "kb/L2", "kb/L3"}
    nothing = kforge("tasks", "list", "--pulled")
    assert (nothing.code, nothing.out) == (0, "")
    assert "kforge tasks pull kernelbench" in nothing.err


@pytest.mark.slow
def test_all_of_kernelbench_is_pulled_listed_and_shown(kforge: Terminal) -> None:
    root = os.environ.get("KERNELBENCH_ROOT")
    if root is None:
        pytest.skip("set KERNELBENCH_ROOT to a KernelBench checkout to pull from it")
    done = kforge("tasks", "pull", "kernelbench", "--from", root, "--json")
    assert (done.code, done.document["files"], done.document["pinned"]) == (0, 270, True)
    again = kforge(
        "tasks", "pull", "kernelbench", "--json", https_proxy=NOBODY, no_proxy=""
    )  # nothing to download any more
    assert (again.code, again.document["fresh"]) == (0, False)

    listed = kforge("tasks", "list", "--json").document
    counts = [sum(task["id"].startswith(f"kb/L{level}/") for task in listed) for level in (1, 2, 3, 4)]
    assert counts == [100, 100, 50, 20]
    unmet = [task for task in listed if task["needs"]]
    assert [task["id"] for task in unmet] == [f"kb/L4/{number}" for number in range(1, 21)]
    assert all("transformers" in task["needs"] and "weights of" in task["needs"][1] for task in unmet)
    for task in ("kb/L1/2", "kb/L2/99", "kb/L3/31"):
        (workload,) = kforge("tasks", "show", task, "--json").document["workloads"]
        assert workload["outputs"]
    refused = kforge("tasks", "show", "kb/L4/16", "--json")
    assert refused.code == 2
    assert "needs transformers and the weights of gpt2" in refused.error["message"]
