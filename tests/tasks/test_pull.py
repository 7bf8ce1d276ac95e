"""Pulling a task set: over a real HTTP server on loopback, from a checkout, and what is refused."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kforge.data.tasks.pull import Fetch, fetch_archive, pull, pull_from
from kforge.data.tasks.registry import list_tasks
from kforge.data.tasks.sources import Source, source
from kforge.errors import InfraError, UsageError

TASK = b'''"""Doubled."""
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return x + x

def get_inputs():
    return [torch.rand(4, 4)]

def get_init_inputs():
    return []
'''
PATHS = ("KernelBench/level1/1_First.py", "KernelBench/level1/2_Second.py")
FILES = {path: TASK + b"# " + path.encode() + b"\n" for path in PATHS}
SOURCE = Source(
    "kernelbench",
    "someone/KernelBench",
    "0123456789abcdef" * 2 + "01234567",
    "KernelBench",
    {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()},
)


def archive(files: dict[str, bytes], hostile: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in hostile:
            tar.addfile(member)
        for path, content in files.items():
            info = tarfile.TarInfo(f"KernelBench-0123/{path}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Answers every GET with ``body``, or 404 without one, and keeps the paths."""

    body: bytes | None = None
    asked: list[str]

    @property
    def fetch(self) -> Fetch:
        return functools.partial(fetch_archive, base_url=f"http://127.0.0.1:{self.server_port}")


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.body
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Answer) as serving:
        serving.asked = []
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_a_pull_puts_checked_files_in_place_once(server: Server, tmp_path: Path) -> None:
    server.body = archive({**FILES, "README.md": b"not a task"})
    first = pull(SOURCE, tmp_path, server.fetch)
    again = pull(SOURCE, tmp_path, server.fetch)

    assert (first.fresh, again.fresh, first.files) == (True, False, 2)
    assert server.asked == [f"/someone/KernelBench/tar.gz/{SOURCE.revision}"]
    there = {p.relative_to(first.directory).as_posix() for p in first.directory.rglob("*") if p.is_file()}
    assert there == set(PATHS)
    assert [p.name for p in tmp_path.iterdir()] == ["kernelbench-0123456789ab"]


def test_a_damaged_file_in_the_cache_is_replaced(server: Server, tmp_path: Path) -> None:
    server.body = archive(FILES)
    damaged = pull(SOURCE, tmp_path, server.fetch).directory / PATHS[0]
    damaged.write_bytes(b"changed")
    assert pull(SOURCE, tmp_path, server.fetch).fresh
    assert damaged.read_bytes() == FILES[PATHS[0]]


def test_a_damaged_archive_names_the_file_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.body = archive({PATHS[0]: FILES[PATHS[0]], PATHS[1]: TASK})
    with pytest.raises(InfraError, match=r"2_Second\.py \(other content\)"):
        pull(SOURCE, tmp_path, server.fetch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [None, b"no archive", archive(FILES)[:200]], ids=["404", "text", "cut"])
def test_a_failed_download_says_how_to_do_without(body: bytes | None, server: Server, tmp_path: Path) -> None:
    server.body = body
    with pytest.raises(InfraError) as refused:
        pull(SOURCE, tmp_path, server.fetch)
    assert refused.value.exit_code == 3
    assert "kforge tasks pull kernelbench --from DIR" in refused.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InfraError, match=r"Cannot download http://127\.0\.0\.1:1/"):
        pull(SOURCE, tmp_path, functools.partial(fetch_archive, base_url="http://127.0.0.1:1"))


def test_links_and_foreign_paths_of_an_archive_have_no_effect(server: Server, tmp_path: Path) -> None:
    link = tarfile.TarInfo(f"KernelBench-0123/{PATHS[0]}")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    outside = tarfile.TarInfo("x/../../outside.py")
    absolute = tarfile.TarInfo(str(tmp_path / "absolute.py"))
    server.body = archive(FILES, (link, outside, absolute))
    root = tmp_path / "deep" / "cache"
    done = pull(SOURCE, root, server.fetch)
    assert (done.directory / PATHS[0]).read_bytes() == FILES[PATHS[0]]
    assert not (done.directory / PATHS[0]).is_symlink()
    assert not list(tmp_path.rglob("outside.py")) + list(tmp_path.rglob("absolute.py"))


def checkout(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (tmp_path / "clone" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / path).write_bytes(content)
    return tmp_path / "clone"


@pytest.mark.parametrize("inside", ["", "KernelBench"])
def test_from_a_checkout_or_its_folder(inside: str, tmp_path: Path) -> None:
    done = pull_from(SOURCE, tmp_path / "cache", checkout(tmp_path, FILES) / inside)
    assert done.pinned
    assert SOURCE.differing({path: (done.directory / path).read_bytes() for path in PATHS}) == []


def test_another_revision_is_refused_unless_asked_for(tmp_path: Path) -> None:
    other = checkout(tmp_path, {PATHS[0]: TASK})
    with pytest.raises(UsageError) as refused:
        pull_from(SOURCE, tmp_path / "cache", other)
    assert "1_First.py (other content), KernelBench/level1/2_Second.py (missing)" in refused.value.message
    assert "--unpinned" in refused.value.next_step

    done = pull_from(SOURCE, tmp_path / "cache", other, unpinned=True)
    assert not done.pinned
    assert done.directory.name == "kernelbench-unpinned"


def test_no_checkout_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder KernelBench/"):
        pull_from(SOURCE, tmp_path / "cache", tmp_path)


def test_the_shipped_pins() -> None:
    kernelbench, robust = source("kernelbench"), source("robust-kbench")
    assert (len(kernelbench.files), len(robust.files)) == (270, 22)
    assert (kernelbench.folder, robust.folder) == ("KernelBench", "tasks")
    assert all(len(each.revision) == 40 for each in (kernelbench, robust))


def test_pulled_tasks_are_listed_beside_the_embedded_ones(tmp_path: Path) -> None:
    name = "KernelBench/level1/2_Standard_matrix_multiplication_.py"
    embedded = "KernelBench/level1/1_Square_matrix_multiplication_.py"
    weights = "KernelBench/level4/16_gpt2_bs1_seq1023.py"
    model = b'from transformers import AutoModel\nmodel_name = "gpt2"\nraise SystemExit("it ran")\n'
    pinned = source("kernelbench")
    pull_from(
        pinned,
        tmp_path / "cache",
        checkout(tmp_path, {name: TASK, embedded: TASK, weights: model + TASK}),
        True,
    )
    tasks = {task.id: task for task in list_tasks(None, tmp_path / "cache")}
    assert tasks["kb/L1/2"].source.encode() == TASK
    assert tasks["kb/L1/1"].title == "Square matrix multiplication"  # the embedded one
    assert tasks["kb/L4/16"].needs == ("transformers", "the weights of gpt2")
