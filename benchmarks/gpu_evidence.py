"""Evidence of the last green run on a GPU: ``docs/gpu-evidence.json``.

``python -m benchmarks.gpu_evidence`` runs ``pytest -m gpu`` on a machine with a card and, if every test
passed, records when, on what, and the hashes of the code that was run. ``--check`` needs no card: it says
whether the code is still the one that was run.
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
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "gpu-evidence.json"
FOLDERS = ("kforge/eval", "kforge/workers")
NEXT = "run python -m benchmarks.gpu_evidence on a machine with an NVIDIA GPU"
COMMAND = ("-m", "pytest", "-m", "gpu", "tests")
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


def run(record: Path, junit: Path) -> int:
    """Run the GPU tests and write the record if they are green. Returns pytest's exit code."""
    import torch

    if not torch.cuda.is_available():
        print(f"no GPU: torch.cuda.is_available() is False; {NEXT}")
        return 3
    hashes = {folder: folder_hash(folder) for folder in FOLDERS}
    started = time.monotonic()
    code, counts = run_tests(COMMAND, junit, ROOT)
    seconds = time.monotonic() - started
    print(f"{counts}, {seconds:.0f} s")
    if code != 0 or counts["passed"] == 0:
        print(f"not green: {record.name} stays as it is")
        return code or 1
    properties = torch.cuda.get_device_properties(0)
    document = {
        "green": True,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": properties.name,
        "driver": _driver(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "command": f"python {' '.join(COMMAND)}",
        "tests": counts,
        "seconds": round(seconds, 1),
        "hashes": hashes,
    }
    record.write_text(json.dumps(document, indent=2) + "\n")
    print(f"green: {record} written")
    return 0


def run_tests(command: Sequence[str], junit: Path, place: Path) -> tuple[int, dict[str, int]]:
    """Run pytest with a report. Returns its exit code and the tests by result."""
    whole = [sys.executable, *command, *REPORT, f"--junitxml={junit}"]
    code = subprocess.run(whole, cwd=place, check=False).returncode
    return code, count(junit)


def count(junit: Path) -> dict[str, int]:
    """Tests by result, from a JUnit report."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in ET.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case}
        word = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[word] += 1
    return counts


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
    parser.add_argument("--record", type=Path, default=RECORD, help="the record's file")
    options = parser.parse_args()
    if options.check:
        stale = check(options.record)
        print("\n".join(stale) or "the code is the one that last ran green on a GPU")
        return 1 if stale else 0
    with tempfile.TemporaryDirectory() as place:
        return run(options.record, Path(place) / "junit.xml")


if __name__ == "__main__":
    sys.exit(main())
