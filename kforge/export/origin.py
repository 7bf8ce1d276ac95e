"""Where an exported kernel comes from: a candidate of a stored run, or a file; what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kforge.data.records import RunRecords, StoredEvaluation
from kforge.errors import UsageError
from kforge.eval.candidate import parse_candidate
from kforge.search.retell import summary_of
from kforge.types import CandidateSource, DeviceInfo, ParseFailed, Passed, Scalar


@dataclass(frozen=True, slots=True)
class Origin:
    """A candidate to export.

    Attributes:
        run: name of the run; None for a file.
        ordinal: of the candidate in its run; None for a file.
        measured: what the run measured; None for a file, of which nothing is known.
        device: on which it was measured.
    """

    source: CandidateSource
    tune: Mapping[str, Scalar]
    run: str | None = None
    ordinal: int | None = None
    measured: Passed | None = None
    device: DeviceInfo | None = None


def origin_of_run(records: RunRecords, ordinal: int | None) -> Origin:
    """The candidate of a run with this ordinal, or the run's best elite.

    Raises:
        UsageError: nothing has passed, or the asked candidate is not there or did not pass.
    """
    name = records.run.name
    if ordinal is None:
        best = summary_of(records, parse_candidate).best
        if best is None:
            raise UsageError(
                f"No candidate of run {name!r} has passed; {len(records.evaluations)} were evaluated.",
                f"kforge runs show {name}, or go on with it: kforge evolve --resume {name} --evals MORE",
            )
        ordinal = best.ordinal
    candidate = next((c for c in records.candidates if c.ordinal == ordinal), None)
    if candidate is None:
        raise UsageError(f"Run {name!r} has no candidate {ordinal}.", f"kforge runs show {name}")
    found: StoredEvaluation | None = next(
        (e for e in records.evaluations if e.candidate_id == candidate.id), None
    )
    if found is None or not isinstance(found.value.outcome, Passed):
        status = "was not evaluated" if found is None else f"is {found.value.outcome.status}, not passed"
        raise UsageError(f"Candidate {ordinal} of run {name!r} {status}.", f"kforge runs show {name}")
    return Origin(
        _parsed(candidate.source or "", f"candidate {ordinal} of run {name!r}"), candidate.tune,
        run=name, ordinal=ordinal, measured=found.value.outcome, device=found.value.device,
    )  # fmt: skip


def origin_of_file(text: str, name: str) -> Origin:
    """A candidate file, with the first choice of everything that it may tune.

    Raises:
        UsageError: it is no candidate.
    """
    source = _parsed(text, name)
    return Origin(source, source.first_choice())


def _parsed(text: str, name: str) -> CandidateSource:
    parsed = parse_candidate(text)
    if isinstance(parsed, ParseFailed):
        raise UsageError(f"{name} is no candidate: {parsed.reason}", "see docs/candidate.md")
    return parsed
