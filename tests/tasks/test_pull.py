"""Pulling a task set: over a real HTTP server on loopback, from a checkout, and what is refused."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kforge.data.tasks.download import Fetch, fetch_archive
from kforge.data.tasks.pull import pull, pull_from
from kforge.data.tasks.registry import list_tasks, resolve
from kforge.data.tasks.sources import Source, source
from kforge.errors import InfraError, TaskError, UsageError

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
    """Answers every GET with ``body``, or 404 without one, and keeps the paths.

    ``announced`` is a Content-Length that need not be true; ``pause_s`` passes between bytes.
    """

    body: bytes | None = None
    announced: int | None = None
    pause_s: float | None = None
    asked: list[str]

    @property
    def fetch(self) -> Fetch:
        return self.fetch_within(60.0)

    def fetch_within(self, max_s: float) -> Fetch:
        base_url = f"http://127.0.0.1:{self.server_port}"
        return functools.partial(fetch_archive, base_url=base_url, max_s=max_s)


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.body
        self.send_response(404 if body is None else 200)
        if self.server.announced is not None:
            self.send_header("Content-Length", str(self.server.announced))
        self.end_headers()
        if self.server.pause_s is None:
            self.wfile.write(body or b"")
            return
        with contextlib.suppress(ConnectionError):  # the client has left, as it should
            for byte in body or b"":
                self.wfile.write(bytes([byte]))
                time.sleep(self.server.pause_s)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Answer) as serving:
        serving.asked = []
        thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
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


@pytest.mark.parametrize(
    ("announced", "pause_s", "message"),
    [
        (10_000, None, "broke off after 20 of 10,000 bytes"),
        (10_000_000_000, None, "is larger than 50,000,000 bytes"),
        (20, 0.05, "too slow"),
    ],
    ids=["cut", "10 GB", "drip"],
)
def test_a_transfer_has_limits(
    announced: int, pause_s: float | None, message: str, server: Server, tmp_path: Path
) -> None:
    server.body, server.announced, server.pause_s = b"x" * 20, announced, pause_s
    with pytest.raises(InfraError, match=message):
        pull(SOURCE, tmp_path, server.fetch_within(0.2))
    assert list(tmp_path.iterdir()) == []


def member(kind: bytes, size: int, content: bytes) -> bytes:
    """A gzipped archive of one header that claims ``size`` bytes, and of the bytes that follow it."""
    info = tarfile.TarInfo("KernelBench-0123/large")
    info.size, info.type = size, kind
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + content + padding, compresslevel=1)


ZEROS = bytes(120_000_000)  # beyond the limit; 10 GB would only take longer to make
DIGITS = b"9" * 5000 + b" size=1\n"
HOSTILE = {
    "a claim of 2^60 bytes": member(tarfile.REGTYPE, 1 << 60, b""),
    "a claim of less than nothing": member(tarfile.REGTYPE, -1 << 40, b""),
    "a bomb of a file": member(tarfile.REGTYPE, 10_000_000_000, ZEROS),
    "a bomb of a name": member(tarfile.GNUTYPE_LONGNAME, 10_000_000_000, ZEROS),
    "a bomb of metadata": member(tarfile.XHDTYPE, 10_000_000_000, ZEROS),
    "a number of 5,000 digits": member(tarfile.XHDTYPE, len(DIGITS), DIGITS),
    "no name but bytes": gzip.compress(b"\xff" * 5120),
    "gzip of nothing": gzip.compress(b""),
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_in_seconds(name: str, server: Server, tmp_path: Path) -> None:
    server.body = HOSTILE[name]
    began = time.monotonic()
    with pytest.raises(InfraError) as refused:
        pull(SOURCE, tmp_path, server.fetch)
    assert time.monotonic() - began < 20
    assert refused.value.exit_code == 3
    assert "no archive of tasks" in refused.value.message or "(missing)" in refused.value.message
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


def test_a_set_that_was_changed_after_its_pull_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "KernelBench/level1/2_Standard_matrix_multiplication_.py"
    monkeypatch.setenv("KFORGE_CACHE", str(tmp_path))
    monkeypatch.setenv("KFORGE_HOME", str(tmp_path / "home"))
    shipped = source("kernelbench")
    placed = tmp_path / "tasks" / shipped.directory / name
    placed.parent.mkdir(parents=True)
    placed.write_bytes(TASK)  # not what the pin says
    for use in (lambda: resolve("kb/L1/2"), lambda: list_tasks(None, tmp_path / "tasks")):
        with pytest.raises(TaskError, match="is not as it was pulled") as refused:
            use()
        assert "kforge tasks pull kernelbench" in refused.value.next_step


def test_another_revision_may_name_its_files_otherwise(tmp_path: Path) -> None:
    renamed = "KernelBench/level2/7_Renamed.py"
    clone = checkout(tmp_path, {renamed: TASK, "KernelBench/level2/notes.py": b"no task"})
    pull_from(SOURCE, tmp_path / "cache", clone, unpinned=True)
    tasks = {task.id: task.path.name for task in list_tasks(None, tmp_path / "cache")}
    assert tasks["kb/L2/7"] == "7_Renamed.py"


def test_an_unpinned_file_that_is_no_task_is_named_and_nothing_is_taken(tmp_path: Path) -> None:
    clone = checkout(tmp_path, {PATHS[0]: b"import torch\n"})
    with pytest.raises(TaskError, match=r"1_First\.py is no task"):
        pull_from(SOURCE, tmp_path / "cache", clone, unpinned=True)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: None, "does not exist"),
        (lambda place: place.write_text("x"), "is no directory"),
        (lambda place: place.mkdir(), "no task files in KernelBench/"),
        (
            lambda place: (place / "KernelBench" / "level1").mkdir(parents=True),
            "no task files in KernelBench/",
        ),
    ],
    ids=["missing", "file", "empty", "empty folder"],
)
@pytest.mark.parametrize("unpinned", [False, True])
def test_what_is_no_checkout(
    make: Callable[[Path], object], message: str, unpinned: bool, tmp_path: Path
) -> None:
    make(tmp_path / "place")
    with pytest.raises(UsageError, match=message) as refused:
        pull_from(SOURCE, tmp_path / "cache", tmp_path / "place", unpinned)
    assert "git clone https://github.com/someone/KernelBench" in refused.value.next_step
    assert not (tmp_path / "cache").exists()


def test_what_a_killed_pull_left_is_cleared(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    left = cache / f".{SOURCE.directory}.abc" / "new" / "KernelBench"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    pull_from(SOURCE, cache, checkout(tmp_path, FILES))
    assert [place.name for place in cache.iterdir()] == [SOURCE.directory]


def test_pulls_at_the_same_time_do_not_hurt_each_other(tmp_path: Path) -> None:
    clone, cache = checkout(tmp_path, FILES), tmp_path / "cache"
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.tasks.test_pull import SOURCE, pull_from\n"
        "pull_from(SOURCE, Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(cache), str(clone)]
    running = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert [place.name for place in cache.iterdir()] == [SOURCE.directory]
    assert SOURCE.differing({path: (cache / SOURCE.directory / path).read_bytes() for path in PATHS}) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o555)
    with pytest.raises(InfraError, match="Cannot write"):
        pull_from(SOURCE, cache, checkout(tmp_path, FILES))


def test_a_cache_whose_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InfraError, match="Cannot write") as refused:
        pull_from(SOURCE, tmp_path / "cache", checkout(tmp_path, FILES))
    assert "KFORGE_CACHE" in refused.value.next_step
