"""How what happens to a runner becomes the outcome of the stage it happened in."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal

from torch import Tensor

from kforge.eval.contender import Challenger
from kforge.eval.protocol import Protocol
from kforge.eval.runner_client import RunnerDied, RunnerHung, RunnerMoved, RunnerRefused
from kforge.eval.workbench import Draw, Verified, Workbench, Wrong
from kforge.types import CheckFailed, Precision, Rejected, Suspect, TimedOut


class Stop(Exception):
    """Carries the outcome that ends an evaluation from deep inside a stage to the verifier."""

    def __init__(self, outcome: Rejected) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Stage:
    """One workload in one stage: a context manager around every request to the candidate's runner.

    A runner that hangs, dies or refuses inside ``with stage:`` ends the evaluation with the fitting outcome.

    Attributes:
        trial: number of the trial or sample under way, for the message.
    """

    def __init__(self, workload: str, name: Literal["check", "bench"], protocol: Protocol) -> None:
        self.workload, self.name, self.trial = workload, name, 0
        self.run_limit_s = protocol.run_limit_s

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        match error:
            case RunnerHung():
                limit_s = error.limit_s
                if limit_s is None or limit_s == self.run_limit_s:
                    limit_s, reason = self.run_limit_s, "one run of the plan did not end"
                else:
                    reason = "loading the module, or copying memory, did not end"
                raise Stop(TimedOut(f"{reason} within {limit_s:g} s", self.name, limit_s)) from error
            case RunnerDied():
                reason = (
                    f"the candidate took its process down ({error.how}); an out-of-bounds access does that "
                    "most often"
                )
                raise Stop(CheckFailed(reason, "crash", self.workload, self.trial)) from error
            case RunnerMoved():
                reason = "the candidate worked while it had to stand still, outside the timed requests"
                raise Stop(Suspect(reason, str(error))) from error
            case RunnerRefused():
                raise Stop(CheckFailed(str(error), error.kind, self.workload, self.trial)) from error
            case _:
                return

    def require_undamaged(self, contender: Challenger, given: Sequence[Tensor]) -> None:
        """End the evaluation if guard zones or inputs changed."""
        damage = contender.damage(given)
        if damage is not None:
            where = "in a timed run: " if self.name == "bench" else ""
            raise Stop(CheckFailed(where + damage.reason, damage.kind, self.workload, self.trial))

    def require_plausible(self, bench: Workbench, outputs: Sequence[Tensor], draw: Draw) -> None:
        """End the evaluation if secretly chosen rows of one run's outputs are far from eager's."""
        found = bench.probe(outputs, draw)
        if found is not None:
            reason = f"{self.name} run {self.trial}, which was not announced as a checked one: {found.reason}"
            raise Stop(CheckFailed(reason, found.kind, self.workload, self.trial))

    def require_correct(
        self, bench: Workbench, outputs: Sequence[Tensor], draw: Draw, precision: Precision
    ) -> tuple[float, bool] | None:
        """End the evaluation if an output is wrong.

        Returns:
            (worst error in units of the allowance, KernelBench's own verdict); None when the reference is
            not fit to judge on these values.
        """
        match bench.verify(outputs, draw, precision):
            case None:
                return None
            case Verified(max_error=worst, kb_correct=kb):
                return worst, kb
            case Wrong(mismatch=found, kb_correct=kb):
                where = f"{self.name} trial {self.trial}, inputs {draw.distribution!r}: "
                raise Stop(
                    CheckFailed(
                        where + found.reason, found.kind, self.workload, self.trial, found.max_error, kb
                    )
                )
