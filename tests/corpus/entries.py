"""The corpus: replies of real models, word for word, each with what the parser has to decide about it.

One JSON object a line, in files named after where the replies came from; large files are compressed.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from kforge.eval.candidate import parse_candidate
from kforge.search.parse import parse_reply
from kforge.types import CandidateSource

CORPUS = Path(__file__).parent
Opener = Callable[[Path, str], IO[str]]


@dataclass(frozen=True, slots=True)
class ParsedDecision:
    """The reply holds this candidate."""

    language: str
    source_hash: str
    status: Literal["parsed"] = "parsed"


@dataclass(frozen=True, slots=True)
class FailedDecision:
    """The reply holds none, and the proposer is told why."""

    reason: str
    status: Literal["parse_failed"] = "parse_failed"

    @property
    def stem(self) -> str:
        """The reason without what Python itself says about a syntax error: that differs by version."""
        return re.sub(r"line \d+: not valid Python: .*", "not valid Python", self.reason, flags=re.DOTALL)


Decision = ParsedDecision | FailedDecision


@dataclass(frozen=True, slots=True)
class Entry:
    """One reply.

    Attributes:
        id: unique in the corpus.
        model: who wrote it, in words.
        language: of the prompt.
        task: of the prompt.
        kind: of the prompt: first, improve, repair or reformat.
        parent: the file that search/replace blocks of the reply are meant for; None where there was none.
        reply: verbatim.
        decision: what the parser has to say; reviewed by a person.
    """

    id: str
    model: str
    language: str
    task: str
    kind: str
    parent: str | None
    reply: str
    decision: Decision

    def line(self) -> str:
        """The entry as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def decide(reply: str, parent: str | None) -> Decision:
    """What the present parser says."""
    parsed = parse_reply(reply, parse_candidate, parent)
    if isinstance(parsed, CandidateSource):
        return ParsedDecision(parsed.language, parsed.hash)
    return FailedDecision(parsed.reason)


def agree(expected: Decision, actual: Decision) -> bool:
    """Whether two decisions are the same to a proposer."""
    if isinstance(expected, FailedDecision) and isinstance(actual, FailedDecision):
        return expected.stem == actual.stem
    return expected == actual


def files() -> list[Path]:
    """The files of the corpus."""
    return sorted(path for path in CORPUS.iterdir() if is_lines(path))


def is_lines(path: Path) -> bool:
    """Whether a file is JSON Lines, compressed or not."""
    return path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.xz"))


def read(path: Path) -> Iterator[Entry]:
    """The entries of one file."""
    for record in read_objects(path):
        yield _entry(record)


def read_objects(path: Path) -> Iterator[Mapping[str, object]]:
    """The JSON objects of one file of lines."""
    with _open(path, "rt") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def append(path: Path, entries: Iterable[Entry]) -> None:
    """Write entries behind those that the file has."""
    with _open(path, "at") as file:
        file.writelines(entry.line() for entry in entries)


def _open(path: Path, mode: Literal["rt", "at"]) -> IO[str]:
    match path.suffix:
        case ".gz":
            return gzip.open(path, mode, encoding="utf-8", newline="\n")
        case ".xz":
            return lzma.open(path, mode, encoding="utf-8", newline="\n")
        case _:
            return path.open(mode, encoding="utf-8", newline="\n")


def _entry(record: Mapping[str, object]) -> Entry:
    decision, parent = record["decision"], record["parent"]
    if not isinstance(decision, Mapping):
        raise TypeError(f"{record['id']}: the decision is no object")
    told: Decision
    if decision["status"] == "parsed":
        told = ParsedDecision(str(decision["language"]), str(decision["source_hash"]))
    else:
        told = FailedDecision(str(decision["reason"]))
    words = {name: str(record[name]) for name in ("id", "model", "language", "task", "kind", "reply")}
    return Entry(**words, parent=None if parent is None else str(parent), decision=told)
