"""Adds replies to the corpus: ``python -m tests.corpus.record FILE.jsonl[.xz] REPLIES.jsonl|DIRECTORY ...``.

Every line of REPLIES is an object with model, language, task, kind, parent (text or null) and reply. The
decision written is that of the parser as it is: read what is printed before you commit it. A decision that
the corpus has is never changed here; correct the parser, or the line by hand.
"""

# ruff: noqa: T201

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.corpus.entries import (
    CORPUS,
    Entry,
    FailedDecision,
    append,
    decide,
    files,
    is_lines,
    read,
    read_objects,
)

USAGE = 2
REFUSED = 1


def main(arguments: list[str]) -> int:
    """Append what is new; 1 if the parser has changed its mind about what is not."""
    if len(arguments) < 2 or not is_lines(Path(arguments[0])):
        print(__doc__, file=sys.stderr)
        return USAGE
    known = {entry.id: entry for path in files() for entry in read(path)}
    new: dict[str, Entry] = {}
    kept = changed = 0
    for record in replies(map(Path, arguments[1:])):
        entry = entry_of(record)
        if entry.id in known:
            kept += 1
            if known[entry.id].reply != entry.reply:
                changed += 1
                print(f"NOT CHANGED {entry.id}: the corpus has another reply under this id")
            elif known[entry.id].decision != entry.decision:
                changed += 1
                print(f"NOT CHANGED {entry.id}: has {known[entry.id].decision}, would be {entry.decision}")
        else:
            new[entry.id] = entry
    append(CORPUS / arguments[0], new.values())
    for entry in new.values():
        decision = entry.decision
        said = f"failed: {decision.reason}" if isinstance(decision, FailedDecision) else "parsed"
        print(f"{entry.id} ({entry.model}, {entry.kind}): {said}")
    failed = sum(isinstance(entry.decision, FailedDecision) for entry in new.values())
    print(f"{len(new)} added ({failed} failed), {kept} known already, {changed} of them differ now")
    return REFUSED if changed else 0


def replies(paths: Iterable[Path]) -> Iterator[Mapping[str, object]]:
    """The objects of files and of all files below directories."""
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if is_lines(each)) if path.is_dir() else [path]
        for each in inside:
            yield from read_objects(each)


def entry_of(record: Mapping[str, object]) -> Entry:
    """A reply with the decision of the present parser; its id is made of its words unless it has one."""
    model, task, kind, reply = (str(record[name]) for name in ("model", "task", "kind", "reply"))
    parent = None if record.get("parent") is None else str(record["parent"])
    digest = hashlib.sha256("\0".join((model, task, kind, parent or "", reply)).encode()).hexdigest()
    name = str(record.get("id") or f"{task.replace('/', '-')}-{kind}-{digest[:12]}")
    return Entry(name, model, str(record["language"]), task, kind, parent, reply, decide(reply, parent))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
