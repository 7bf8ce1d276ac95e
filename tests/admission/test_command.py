"""``kforge tasks check`` as a person or a script has it: text, JSON, exit codes, resumption."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.admission.sources import CRASH, EXIT, HUGE, LOOP, MATMUL, MEAN_OF_NORMALISED, written
from tests.cli.terminal import Terminal, environment


@pytest.fixture
def kforge(tmp_path: Path) -> Terminal:
    desk = tmp_path / "desk"
    desk.mkdir()
    written(desk, good=MATMUL, degenerate=MEAN_OF_NORMALISED, loop=LOOP, crash=CRASH, huge=HUGE, leaves=EXIT)
    return Terminal(desk, environment(tmp_path / "home", tmp_path / "cache"))


def test_a_good_task_is_admitted_and_its_verdict_reused(kforge: Terminal) -> None:
    done = kforge("tasks", "check", "./good.py")
    assert done.code == 0
    assert "admitted: every control fails" in done.out
    assert "shrunk: constants of the file are halved until" in done.out
    zeros = next(line for line in done.out.splitlines() if line.startswith("zeros "))
    assert zeros.count("rejected") == 3

    again = kforge("tasks", "check", "./good.py", "--json")
    (verdict,) = again.document
    assert again.code == 0
    assert verdict["reused"] is True
    assert verdict["status"] == "admitted"
    assert verdict["accepted"] == {"kforge": [], "kernelbench": [], "kernelbench_v0": []}
    assert verdict["verdict"]["workloads"][0]["inputs"] == {"x": "32x48", "y": "48x32"}
    assert len(verdict["harness_version"]) == 16
    assert "stored before" in again.err

    fresh = kforge("tasks", "check", "./good.py", "--again", "--json").document
    assert fresh[0]["reused"] is False
    assert fresh[0]["verdict"]["findings"] == verdict["verdict"]["findings"]  # the same seed


def test_another_source_is_another_task_whatever_its_name(kforge: Terminal) -> None:
    assert kforge("tasks", "check", "./good.py").code == 0
    path = kforge.cwd / "good.py"
    path.write_text(path.read_text() + "\n# changed\n")
    assert kforge("tasks", "check", "./good.py", "--json").document[0]["reused"] is False


def test_what_cannot_be_checked_is_listed_and_the_rest_goes_on(kforge: Terminal) -> None:
    names = ("loop", "crash", "huge", "leaves", "degenerate")
    files = [f"./{name}.py" for name in names]
    done = kforge("tasks", "check", *files, "--limit", "12", "--memory", "1", "--jobs", "2", "--json")
    assert done.code == 1  # degenerate weighs more than unchecked
    found = {Path(each["task"]).stem: each for each in done.document}
    assert list(found) == list(names)
    assert found["degenerate"]["status"] == "degenerate"
    assert "zeros" in found["degenerate"]["accepted"]["kforge"]
    assert {found[name]["status"] for name in names[:-1]} == {"unchecked"}
    assert found["loop"]["reason"] == "it was not done within 12 s"
    assert found["crash"]["reason"] == "its process was killed by signal 11"
    assert found["huge"]["reason"] == "it needs more than 1 GiB of memory at size shrunk"
    assert found["leaves"]["reason"] == "its process ended with code 7"

    text = kforge("tasks", "check", "./degenerate.py", "./crash.py")
    assert text.code == 1
    assert "its process was killed by signal 11" in text.out
    assert text.out.rstrip().endswith("1 degenerate, 1 unchecked")
    assert "[1/2]" in text.err
    assert "stored before" in text.err


def test_nothing_but_an_uncheckable_task_is_a_wrong_task(kforge: Terminal) -> None:
    done = kforge("tasks", "check", "./good.py", "--size", "small", "--json")
    assert done.code == 2
    assert "defines no size 'small'" in done.document[0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ([], 2, "kforge tasks check TASK, --level N, or --all"),
        (["kb/L1/999"], 2, "kforge tasks list"),
        (["--level", "7"], 2, "--level 1, 2, 3 or 4"),
        (["--level", "1", "--kernelbench", "nowhere"], 2, "git clone"),
        (["./good.py", "--store", "/proc/none/kforge.sqlite"], 3, "choose another place"),
    ],
)
def test_a_mistake_says_what_to_type(kforge: Terminal, arguments: list[str], code: int, hint: str) -> None:
    done = kforge("tasks", "check", *arguments, "--json")
    assert done.code == code
    assert hint in done.error["next"]
