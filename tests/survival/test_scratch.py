"""Scratch directories do not outlive their process, and a living one's are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kforge.eval import scratch
from kforge.eval.scratch import scratch_directory, sweep

HOLDER = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from kforge.eval.scratch import Scratch
made = Scratch("kforge-build-")
open(made.path + "/half", "w").write("x")
print(made.path, flush=True)
time.sleep(300)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "YOUNG_S", -1.0)
    return tmp_path


def test_what_kill_leaves_is_gone_at_the_next_build(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        with scratch_directory("kforge-build-"):
            assert (left / "half").exists(), "it is held by a living process"
        holder.send_signal(signal.SIGKILL)
    assert left.exists(), "kill -9 itself removes nothing"
    with scratch_directory("kforge-build-") as mine:
        assert os.listdir(folder) == [Path(mine).name]
    assert os.listdir(folder) == []


def test_other_names_links_and_young_ones_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "file").write_text("x")
    (folder / "kforge-build-link").symlink_to(folder / "theirs")
    sweep(folder, "kforge-build-")
    assert (folder / "theirs" / "file").exists()
    monkeypatch.setattr(scratch, "YOUNG_S", 30.0)
    (folder / "kforge-build-new").mkdir()
    sweep(folder, "kforge-build-")
    assert (folder / "kforge-build-new").exists()


def test_it_goes_with_an_exception(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch_directory("kforge-build-"):
        raise ZeroDivisionError
    assert os.listdir(folder) == []
