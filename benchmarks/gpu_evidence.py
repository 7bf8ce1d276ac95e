"""Evidence of the last GPU run: ``docs/gpu-evidence.json``, test by test.

``python -m benchmarks.gpu_evidence [PATH ...]`` runs ``pytest -m "gpu and not slow"`` on a machine with a
card and records what passed, when, on what, and the hashes of the code that was run. Parts that ran the same
code on the same kind of card add up; the record is green when every such test there is has passed.
``--check`` needs no card: it says whether the code is still the one that was run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "gpu-evidence.json"
FOLDERS = ("kforge/eval", "kforge/workers")
NEXT = "run python -m benchmarks.gpu_evidence on a machine with an NVIDIA GPU"
COMMAND = ("-m", "pytest", "-m", "gpu and not slow")
# The older family of reports is the one that takes what tests record about themselves.
REPORT = ("-o", "junit_family=xunit1")


def folder_hash(folder: str) -> str:
    """Hash of every file below a folder of the checkout, by path and content; caches are left out."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def check(record: Path) -> list[str]:
    """What differs between the code as it is and as it was when it last ran on a card."""
    try:
        document = json.loads(record.read_text())
        known: dict[str, str] = document["hashes"]
        if not document["green"]:
            return [f"the GPU run of {document['date']} was not green ({document['tests']}): {NEXT}"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{record} is no record of a GPU run ({type(error).__name__}): {NEXT}"]
    return [
        f"{folder} has changed since the last green GPU run: {NEXT}"
        for folder in FOLDERS
        if known.get(folder) != folder_hash(folder)
    ]


def run(record: Path, junit: Path, paths: Sequence[str]) -> int:
    """Run the GPU tests below ``paths`` and add what passed to the record. Returns pytest's exit code."""
    import torch

    if not torch.cuda.is_available():
        print(f"no GPU: torch.cuda.is_available() is False; {NEXT}")
        return 3
    hashes = {folder: folder_hash(folder) for folder in FOLDERS}
    started = time.monotonic()
    code, results = run_tests((*COMMAND, *paths), junit, ROOT)
    seconds = time.monotonic() - started
    device = torch.cuda.get_device_properties(0).name
    about = {
        "device": device,
        "driver": _driver(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "hashes": hashes,
    }
    part = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python {' '.join((*COMMAND, *paths))}",
        "seconds": round(seconds, 1),
    }
    document = merged(_known(record), about, part, results, collected(COMMAND, ROOT))
    record.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{document['tests']}, {seconds:.0f} s; {'green' if document['green'] else 'not green'}: {record}")
    return code


def merged(
    known: Mapping[str, Any],
    about: Mapping[str, Any],
    part: Mapping[str, Any],
    results: Mapping[str, str],
    wanted: Sequence[str],
) -> dict[str, Any]:
    """The record with one more part; what ran other code, or elsewhere, counts no longer.

    Args:
        known: the record so far, or nothing.
        about: card, versions and hashes of this part.
        part: when, how, how long.
        results: test id to passed, failed or skipped.
        wanted: ids of all GPU tests there are.
    """
    same = all(known.get(name) == value for name, value in about.items())
    before: dict[str, str] = dict(known.get("results", {})) if same else {}
    all_results = {name: word for name, word in sorted((before | dict(results)).items()) if name in wanted}
    counts = {word: list(all_results.values()).count(word) for word in ("passed", "failed", "skipped")}
    counts["not run"] = len(wanted) - len(all_results)
    return {
        "green": counts["passed"] == len(wanted) > 0,
        "date": part["date"],
        **about,
        "tests": counts,
        "parts": [*(known.get("parts", []) if same else []), dict(part)],
        "results": all_results,
    }


def _known(record: Path) -> dict[str, Any]:
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def collected(command: Sequence[str], place: Path) -> list[str]:
    """Ids of all tests that a pytest command would run, in the words of its report."""
    whole = [sys.executable, *command, "--collect-only", "-q", "--no-header", "tests"]
    lines = subprocess.run(whole, cwd=place, check=False, capture_output=True, text=True).stdout.splitlines()
    return [_reported(line) for line in lines if "::" in line and not line.startswith(("ERROR", "FAILED"))]


def _reported(node: str) -> str:
    path, _, name = node.partition("::")
    return f"{path.removesuffix('.py').replace('/', '.')}::{name}"


def run_tests(command: Sequence[str], junit: Path, place: Path) -> tuple[int, dict[str, str]]:
    """Run pytest with a report. Returns its exit code and every test's result."""
    whole = [sys.executable, *command, *REPORT, f"--junitxml={junit}"]
    code = subprocess.run(whole, cwd=place, check=False).returncode
    return code, results_of(junit)


def results_of(junit: Path) -> dict[str, str]:
    """Test id to passed, failed or skipped, from a JUnit report."""
    found: dict[str, str] = {}
    for case in ET.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case}
        word = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = word
    return found


def _driver() -> str:
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown: nvidia-smi does not answer"
    return done.stdout.strip().splitlines()[0]


def main() -> int:
    """Run, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="compare the code with the record; no GPU needed"
    )
    parser.add_argument("paths", nargs="*", default=["tests"], help="tests to run; default: all")
    parser.add_argument("--record", type=Path, default=RECORD, help="the record's file")
    options = parser.parse_args()
    if options.check:
        stale = check(options.record)
        print("\n".join(stale) or "the code is the one that last ran green on a GPU")
        return 1 if stale else 0
    with tempfile.TemporaryDirectory() as place:
        return run(options.record, Path(place) / "junit.xml", options.paths)


if __name__ == "__main__":
    sys.exit(main())
