"""Which candidate of a run goes home."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from kforge.data.records import Candidate, NewEvaluation, Proposal, Run, RunRecords, StoredEvaluation
from kforge.errors import UsageError
from kforge.export.origin import origin_of_file, origin_of_run
from kforge.search.archive import objective_of
from kforge.types import Measures, Outcome, Passed, ScreenedOut
from tests.evolve.world import candidate_text, passed

NOW = datetime(2030, 1, 2, tzinfo=UTC)
WRONG = ScreenedOut("no kernel of its own", "no_launch")


def records(outcomes: Sequence[Outcome | None]) -> RunRecords:
    """A run whose candidate n ended as ``outcomes[n]``; None: it waits."""
    proposals: list[Proposal] = []
    candidates: list[Candidate] = []
    evaluations: list[StoredEvaluation] = []
    for n, outcome in enumerate(outcomes):
        proposals.append(
            Proposal(f"p{n}", n, 0, "first", (), (), "", "offline", n, "replied", None, NOW, NOW)
        )
        candidates.append(Candidate(f"c{n}", f"p{n}", n, f"h{n}", candidate_text(str(n)), None, {}, NOW))
        if outcome is not None:
            good = isinstance(outcome, Passed)
            value = NewEvaluation(
                f"k{n}", outcome,
                objective=objective_of(outcome) if isinstance(outcome, Passed) else None,
                measures=Measures(0, 0, 0) if good else None,
            )  # fmt: skip
            evaluations.append(StoredEvaluation(f"e{n}", "r", f"c{n}", len(evaluations), NOW, value))
    run = Run("r", "demo", "kb/L1/19", "small", "sycl", 0, {}, "finished", None, NOW, NOW)
    return RunRecords(run, tuple(proposals), tuple(candidates), {}, tuple(evaluations), (), ())


def test_the_best_elite_is_taken_unless_one_is_named() -> None:
    run = records([passed(1.5), WRONG, passed(2.5), passed(2.0)])
    assert origin_of_run(run, None).ordinal == 2
    named = origin_of_run(run, 3)
    assert (named.run, named.ordinal) == ("demo", 3)
    assert named.measured is not None
    assert named.measured.speedup == 2.0
    assert named.source.text == candidate_text("3")


@pytest.mark.parametrize(
    ("outcomes", "ordinal", "said"),
    [
        ([], None, "No candidate of run 'demo' has passed; 0 were evaluated"),
        ([WRONG, WRONG], None, "has passed; 2 were evaluated"),
        ([passed(2.0)], 7, "has no candidate 7"),
        ([passed(2.0), WRONG], 1, "Candidate 1 of run 'demo' is screened_out, not passed"),
        ([passed(2.0), None], 1, "Candidate 1 of run 'demo' was not evaluated"),
    ],
)
def test_what_did_not_pass_stays(outcomes: list[Outcome | None], ordinal: int | None, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        origin_of_run(records(outcomes), ordinal)
    assert said in refused.value.message
    assert "kforge runs show demo" in refused.value.next_step


def test_a_file_has_to_be_a_candidate() -> None:
    with pytest.raises(UsageError, match=r"mine\.py is no candidate"):
        origin_of_file("print('hello')", "mine.py")
