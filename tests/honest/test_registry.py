"""The registry and the files agree."""

from __future__ import annotations

from tests.honest.registry import HERE, QUICK, SYCL, honest


def test_every_file_is_registered_once_and_says_what_it_is() -> None:
    found = honest()
    paths = [one.path for one in found]
    assert len(set(paths)) == len(paths)
    assert len({one.id for one in found}) == len(found)
    here = {path for folder in ("sycl", "cuda", "open") for path in (HERE / folder).glob("*.py")}
    assert here == {path for path in paths if HERE in path.parents}
    assert all(path.exists() for path in paths)
    assert all(one.style for one in found)


def test_there_are_sixty_of_them_on_both_tracks() -> None:
    found = honest()
    assert len(found) >= 60
    assert {one.track for one in found} == {"sealed", "open"}
    assert {one.language for one in found} == {"sycl", "cuda", None}


def test_quick_names_exist() -> None:
    assert {name for names in SYCL.values() for name in names} >= QUICK
