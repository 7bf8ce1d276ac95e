"""Which folders an export may take, and that it takes them whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from kforge.errors import UsageError
from kforge.export.folder import MARK, checked_folder, runtime_files, write_folder


@pytest.mark.parametrize("name", ["my-kernel", "2nd", "json", "torch", "kforge", "class"])
def test_a_name_that_cannot_be_imported_is_refused_with_one_that_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        checked_folder(tmp_path / name, force=False)
    better = Path(refused.value.next_step.removeprefix("use --out "))
    assert checked_folder(better, force=False) == better
    assert better.parent == tmp_path


def test_an_export_is_replaced_by_force_only(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    write_folder(checked_folder(home, force=False), {MARK: b"{}", "old.py": b""})
    with pytest.raises(UsageError, match="holds an export already") as refused:
        checked_folder(home, force=False)
    assert "--force" in refused.value.next_step
    write_folder(checked_folder(home, force=True), {MARK: b"{}", "new.py": b""})
    assert sorted(path.name for path in home.iterdir()) == [MARK, "new.py"]
    assert [path.name for path in home.parent.iterdir()] == ["home"]


@pytest.mark.parametrize("force", [False, True])
def test_what_kforge_did_not_write_is_never_replaced(force: bool, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("mine", "file", "link"):
        with pytest.raises(UsageError, match="not written by kforge"):
            checked_folder(tmp_path / name, force)
    (tmp_path / "empty").mkdir()
    assert checked_folder(tmp_path / "empty", force).name == "empty"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a writable directory"):
        checked_folder(tmp_path / "file" / "home", force=False)
    with pytest.raises(UsageError, match="cannot be written"):
        write_folder(Path("/proc/home"), {MARK: b"{}"})


@pytest.mark.parametrize("language", ["cuda", "sycl"])
def test_carried_files_never_import_kforge(language: str) -> None:
    for name, data in runtime_files(language).items():
        assert b"SPDX-License-Identifier" in data.splitlines()[0]
        lines = data.decode().splitlines()
        found = [line for line in lines if line.strip().startswith(("import kforge", "from kforge"))]
        assert found == [], name
