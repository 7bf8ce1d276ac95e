"""A soak: ``python -m benchmarks.soak --minutes M [--language cuda|sycl] [--seed S] [--share X] [--json]``.

Mixed candidates through one real pool, a tenth of them hostile, drawn by a seed. Every outcome is held
against what must come; after each candidate the processes, descriptors, memory and scratch space are counted.
Exit code 1: a wrong verdict, a leak, or a pool that did not go on by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.soak_mix import Entry, mix, name_of
from kforge.eval.candidate import parse_candidate
from kforge.eval.threads import below
from kforge.search.pool import EvaluationRequest
from kforge.types import Built, CandidateSource, Outcome, Passed
from kforge.workers.hardware import choose_device
from kforge.workers.local import LocalPool
from kforge.workers.measuring import _orphans
from tests.survival.scene import TASK, role

RETRIES = 2
# What may grow between the second and the last quarter of a soak without being called a leak.
ALLOWED = {
    "driver_rss_mib": 30.0,
    "verifier_rss_mib": 300.0,
    "processes": 1.0,
    "driver_fds": 4.0,
    "verifier_fds": 6.0,
    "shm_files": 1.0,
    "scratch_dirs": 1.0,
    "device_used_mib": 512.0,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, and what was there after it."""

    name: str
    expected: list[str]
    found: str
    wall_s: float
    attempts: int
    latency_us: float | None
    restarted: bool
    counts: dict[str, float]

    @property
    def wrong(self) -> bool:
        """Whether the outcome is not one that must come."""
        return self.found not in self.expected


def request_of(entry: Entry) -> EvaluationRequest:
    """The candidate of an entry."""
    parsed = parse_candidate(entry.text)
    if not isinstance(parsed, CandidateSource):
        raise SystemExit(f"soak: {entry.name}: {parsed.reason}")
    return EvaluationRequest(entry.name, parsed, parsed.first_choice(), "sealed")


async def hit(pool: LocalPool, entry: Entry) -> None:
    """Send the entry's signal to its process as soon as that is there."""
    assert entry.hit is not None
    who, number = entry.hit
    await asyncio.sleep(0.3)
    for _ in range(1000):
        leader = pool._worker.pid
        for pid in () if leader is None else (leader, *below(leader)):
            if role(pid, leader or 0) == who:
                os.kill(pid, number)
                return
        await asyncio.sleep(0.02)


async def evaluate(pool: LocalPool, entry: Entry) -> tuple[Outcome, int]:
    """The outcome and how many attempts it took: infrastructure failures are tried again, as in a run."""
    request = request_of(entry)
    built = (await pool.build(request)).result
    if not isinstance(built, Built):
        return built, 1
    for attempt in range(1, RETRIES + 2):
        beside = asyncio.create_task(hit(pool, entry)) if entry.hit is not None and attempt == 1 else None
        outcome = (await pool.measure(request, built)).outcome
        if beside is not None:
            beside.cancel()
        if outcome.status != "infra_failed":
            break
    return outcome, attempt


def counted(pool: LocalPool, *, device: bool) -> dict[str, float]:
    """What is there now."""
    scratch, leader = pool._worker._scratch, pool._worker.pid
    counts: dict[str, float] = {
        "driver_rss_mib": _rss_mib(os.getpid()),
        "driver_fds": len(os.listdir("/proc/self/fd")),
        "processes": len(_orphans(scratch.path)) if scratch is not None else 0,
        "shm_files": len(os.listdir("/dev/shm")),
        "scratch_dirs": sum(n.startswith(("kforge-", "pymp-")) for n in os.listdir(tempfile.gettempdir())),
    }
    if leader is not None:
        counts |= {"verifier_rss_mib": _rss_mib(leader), "verifier_fds": _fds(leader)}
    return counts | ({"device_used_mib": _device_used_mib()} if device and shutil.which("nvidia-smi") else {})


def _rss_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _fds(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _device_used_mib() -> float:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    return float(done.stdout.split()[0])


async def soak(minutes: float, language: str, seed: int, share: float, *, quiet: bool) -> list[Row]:
    """Evaluate until the time is over."""
    honest, hostile = mix("cuda" if language == "cuda" else "sycl")
    rng = random.Random(seed)
    device = choose_device("cuda" if language == "cuda" else "sycl", "auto")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        task = "kb/L1/19"
        if language == "sycl":
            (Path(home) / "tiny_relu.py").write_text(TASK)
            task = str(Path(home) / "tiny_relu.py")
        pool = await LocalPool.open(
            task, "small" if language == "cuda" else "full", device, Path(home) / "c", None
        )
        left = rng.sample(hostile, len(hostile))  # each once before any twice
        deadline = time.monotonic() + 60.0 * minutes
        try:
            while time.monotonic() < deadline:
                if rng.random() < share:
                    left = left or rng.sample(hostile, len(hostile))
                    entry = left.pop()
                else:
                    # Every other one is the same kernel, to see whether its time drifts.
                    entry = honest[0] if len(rows) % 2 else rng.choice(honest)
                rows.append(await one(pool, entry, device=language == "cuda"))
                if not quiet:
                    print(told(len(rows), rows[-1]), flush=True)
        finally:
            await pool.close()
    return rows


async def one(pool: LocalPool, entry: Entry, *, device: bool) -> Row:
    """Evaluate one and count."""
    before, started = pool._worker.pid, time.monotonic()
    outcome, attempts = await evaluate(pool, entry)
    wall_s = time.monotonic() - started
    latency_us = outcome.latency_us if isinstance(outcome, Passed) else None
    restarted = pool._worker.pid != before
    found = name_of(outcome)
    return Row(
        entry.name, sorted(entry.expected), found, wall_s, attempts, latency_us, restarted,
        counted(pool, device=device),
    )  # fmt: skip


def told(number: int, row: Row) -> str:
    """One line of the log."""
    mark = "WRONG" if row.wrong else "ok"
    return f"{number:4} {mark:5} {row.wall_s:6.1f} s  {row.name:28} {row.found}"


def growth(rows: list[Row]) -> dict[str, tuple[float, float, float]]:
    """Count to its medians in the second and the last quarter, and its slope per 100 candidates."""
    quarter = max(1, len(rows) // 4)
    found: dict[str, tuple[float, float, float]] = {}
    for name in ALLOWED:
        values = [(i, row.counts[name]) for i, row in enumerate(rows) if name in row.counts]
        if len(values) < 4:
            continue
        early = statistics.median(v for _, v in values[quarter : 2 * quarter] or values[:1])
        late = statistics.median(v for _, v in values[-quarter:])
        slope = statistics.linear_regression(*zip(*values, strict=True)).slope if len(values) > 1 else 0.0
        found[name] = (early, late, 100.0 * slope)
    return found


def drift(rows: list[Row], name: str) -> tuple[float, float] | None:
    """Median latency (us) of the same kernel in the first and in the last quarter."""
    values = [row.latency_us for row in rows if row.name == name and row.latency_us is not None]
    quarter = len(values) // 4
    if quarter < 1:
        return None
    return statistics.median(values[:quarter]), statistics.median(values[-quarter:])


def summary(rows: list[Row], first: str) -> dict[str, object]:
    """Everything that the table says."""
    grown = growth(rows)
    return {
        "candidates": len(rows),
        "hostile": sum(set(row.expected) != {"passed", "unstable"} for row in rows),
        "found": dict(Counter(row.found for row in rows).most_common()),
        "wrong": [f"{row.name}: {row.found}" for row in rows if row.wrong],
        "restarts": sum(row.restarted for row in rows),
        "unasked_restarts": [r.name for r in rows if r.restarted and "infra_failed" not in r.expected],
        "given_up": [row.name for row in rows if row.attempts > RETRIES],
        "grown": {name: [round(v, 2) for v in values] for name, values in grown.items()},
        "leaks": [name for name, (early, late, _) in grown.items() if late - early > ALLOWED[name]],
        "drift_us": drift(rows, first),
        "longest_s": round(max(row.wall_s for row in rows), 1),
    }  # fmt: skip


def main() -> None:
    """Soak, print the table, exit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--language", choices=["sycl", "cuda"], default="sycl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.1, help="of hostile candidates")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = asyncio.run(
        soak(options.minutes, options.language, options.seed, options.share, quiet=options.json)
    )
    first = mix(options.language)[0][0].name
    found = summary(rows, first)
    if options.json:
        print(json.dumps({"summary": found, "rows": [asdict(row) for row in rows]}))
    else:
        for name, value in found.items():
            print(f"{name:17} {value}")
    bad = found["wrong"] or found["leaks"] or found["given_up"] or found["unasked_restarts"]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
