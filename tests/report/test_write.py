"""The file appears whole or not at all, and an error says what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kforge.errors import InfraError, UsageError
from kforge.report.write import write_page


def test_replaces_what_is_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    page.write_text("old")
    assert write_page(page, "nöw") == 4
    assert page.read_text(encoding="utf-8") == "nöw"
    assert list(tmp_path.iterdir()) == [page]
    assert page.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no directory") as caught:
        write_page(tmp_path / "no such" / "r.html", "page")
    assert caught.value.next_step == f"mkdir -p '{tmp_path}/no such'"


def test_a_directory_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError, match="is no file"):
            write_page(path, "page")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EACCES, UsageError), (errno.ENOSPC, InfraError), (errno.EIO, InfraError)]
)
def test_trouble_keeps_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    page = tmp_path / "r.html"
    page.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("kforge.report.write.os.fsync", fail)
    with pytest.raises(kind):
        write_page(page, "new")
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]
