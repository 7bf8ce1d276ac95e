"""The way of one candidate: asked for, stored, parsed, built, measured. Every step is a row first.

Nothing here decides or tells: a flow ends with ``Finished``, and the loop stores and tells it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from kforge.data.records import Reply as StoredReply
from kforge.errors import InfraError, NoMoreReplies
from kforge.search.context import RunContext
from kforge.search.events import CandidateBuilt, InfraRetried, ProposalSent, ReplyReceived
from kforge.search.parse import parse_reply, storable
from kforge.search.pool import BuildReport, EvaluationRequest, MeasureReport
from kforge.search.proposer import Message, ProposalRequest, Reply, Unanswered, signed
from kforge.search.selection import Decision
from kforge.search.state import Candidate, SearchState, Unread
from kforge.types import (
    BuildFailed,
    Built,
    CandidateSource,
    DeviceInfo,
    InfraFailed,
    Measures,
    Outcome,
    ParseFailed,
    Passed,
    Rejected,
    Scalar,
    StageSeconds,
    TaskDescription,
    Track,
)

MAX_RETRIES = 3
GIVEN = "file"  # who "proposed" what the user gave
Report = TypeVar("Report", BuildReport, MeasureReport)


@dataclass(frozen=True, slots=True)
class Asked:
    """A decided proposal.

    Attributes:
        proposal_id: its row while the request is open; None while nothing was asked.
        unanswered: what the proposer said when it was asked last.
    """

    decision: Decision
    messages: tuple[Message, ...]
    proposal_id: str | None = None
    unanswered: Unanswered | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A stored candidate on its way to an outcome: its source, or why there is none."""

    candidate: Candidate
    failure: ParseFailed | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A candidate whose outcome is known and not yet told.

    Attributes:
        key: evaluation key; None when there was no source to identify.
        reused_from: evaluation id whose outcome this is, when no device time was spent.
    """

    candidate: Candidate
    key: str | None
    outcome: Rejected | Passed
    measures: Measures | None
    seconds: StageSeconds
    reused_from: str | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    outcome: Rejected | Passed
    measures: Measures | None
    seconds: StageSeconds


def request_id(run_name: str, run_id: str, ordinal: int, prompt: str) -> str:
    """Identity of a request, for people too: the same whenever and wherever the run goes on.

    The run's id keeps runs of one name in different stores apart, the prompt keeps apart what a store that
    was restored from a copy asks for anew.
    """
    digest = hashlib.sha256(json.dumps([run_id, ordinal, prompt]).encode()).hexdigest()
    return f"{run_name}-{ordinal:04d}-{digest[:12]}"


def evaluation_key(
    task: TaskDescription, source: CandidateSource, harness_version: str, device: DeviceInfo, track: Track
) -> str:
    """Identity of an evaluation: equal keys have interchangeable outcomes.

    The driver and the card's serial number are provenance and stay out; so do workers and clocks.
    """
    tune: dict[str, Scalar] = source.first_choice()
    parts = [task.hash, source.hash, tune, harness_version, device.name, device.arch, source.precision, track]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Flow:
    """Carries candidates to their outcomes; one job per evaluation key, however many ask for it."""

    def __init__(self, run: RunContext, state: SearchState) -> None:
        self._run = run
        self._state = state
        self._jobs: dict[str, asyncio.Task[_Result]] = {}

    async def propose_and_evaluate(self, asked: Asked) -> Finished | Asked:
        """Ask the proposer, store its reply, and carry the candidate on.

        Returns:
            The outcome; or the open request, to be given here again, while it has no answer.

        Raises:
            InfraError: proposer or pool failed too often, or there are no more replies.
        """
        answer = self._take_given(asked) if asked.decision.kind == "given" else await self._propose(asked)
        return answer if isinstance(answer, Asked) else await self.evaluate(answer)

    async def evaluate(self, parsed: Parsed) -> Finished:
        """Find the outcome of a stored candidate, from what is known already if possible.

        Raises:
            InfraError: the pool failed too often.
        """
        candidate = parsed.candidate
        if candidate.source is None:
            failure = parsed.failure or ParseFailed("the reply held no candidate")
            return Finished(candidate, None, failure, None, StageSeconds())
        run = self._run
        config = run.config
        key = evaluation_key(run.task, candidate.source, config.harness_version, run.device, config.track)
        known = self._state.first_with(key)
        if known is not None and not isinstance(known.outcome, InfraFailed):
            return Finished(
                candidate, key, known.outcome, known.measures, StageSeconds(), known.evaluation_id
            )
        if key not in self._jobs:
            stored = run.store.find_evaluation(key)
            if stored is not None and not isinstance(stored.value.outcome, InfraFailed):
                outcome, measures = stored.value.outcome, stored.value.measures
                return Finished(candidate, key, outcome, measures, StageSeconds(), stored.id)
            self._jobs[key] = asyncio.create_task(self._measure(candidate, candidate.source))
        result = await self._jobs[key]
        return Finished(candidate, key, result.outcome, result.measures, result.seconds)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        for job in self._jobs.values():
            job.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    # ----------------------------------------------------------------------------------- the proposal

    def request(self, asked: Asked) -> ProposalRequest:
        """What the proposer is given."""
        run, decision = self._run, asked.decision
        return ProposalRequest(
            asked.messages,
            decision.seed,
            decision.ordinal,
            run.config.max_completion_tokens,
            request_id(run.run_name, run.run_id, decision.ordinal, _stored_prompt(asked)),
        )

    def _take_given(self, asked: Asked) -> Parsed:
        """The user's own file, stored as a reply that nobody was paid for."""
        given = self._run.config.given[asked.decision.ordinal]
        proposal_id = asked.proposal_id or self._begin_proposal(asked, 0, signed(GIVEN, given.name))
        return self._store_reply(asked, proposal_id, Reply(given.text, "", 0, 0, 0.0), 0.0)

    async def _propose(self, asked: Asked) -> Parsed | Asked:
        run, decision = self._run, asked.decision
        request = self.request(asked)
        reason, next_step = "", "look at the model's server"
        for attempt in range(1 + MAX_RETRIES):
            proposal_id = asked.proposal_id or self._begin_proposal(asked, attempt, run.proposer.name)
            started = run.clock.monotonic()
            try:
                async with asyncio.timeout(self._deadline_s):
                    answer = await run.proposer.propose(request)
            except TimeoutError:
                reason = f"no reply within {run.config.proposal_deadline_s:g} s"
            except NoMoreReplies:
                run.store.abandon_proposal(proposal_id, run.clock.now())
                raise
            except InfraError as error:
                if run.proposer.keeps_requests:
                    raise  # the request stays open; nothing that was asked for is given up
                reason, next_step = error.message, error.next_step
            else:
                if isinstance(answer, Unanswered):
                    return replace(asked, proposal_id=proposal_id, unanswered=answer)
                return self._store_reply(asked, proposal_id, answer, run.clock.monotonic() - started)
            run.store.abandon_proposal(proposal_id, run.clock.now())
            if attempt < MAX_RETRIES:
                run.on_event(InfraRetried(decision.ordinal, reason, attempt + 1))
        raise InfraError(
            f"Proposer {run.proposer.name} failed {1 + MAX_RETRIES} times"
            f" on proposal {decision.ordinal}: {reason}",
            next_step,
        )

    @property
    def _deadline_s(self) -> float | None:
        """How long the proposer may take; one that keeps requests sets its own limits."""
        return None if self._run.proposer.keeps_requests else self._run.config.proposal_deadline_s

    def _begin_proposal(self, asked: Asked, attempt: int, model: str) -> str:
        run, decision = self._run, asked.decision
        proposal_id = run.store.begin_proposal(
            run.run_id,
            ordinal=decision.ordinal,
            kind=decision.kind,
            parents=() if decision.parent is None else (decision.parent,),
            inspirations=decision.inspirations,
            prompt=_stored_prompt(asked),
            model=model,
            seed=decision.seed,
            now=run.clock.now(),
        )
        run.on_event(ProposalSent(decision.ordinal, decision.kind, attempt))
        return proposal_id

    def _store_reply(self, asked: Asked, proposal_id: str, reply: Reply, seconds: float) -> Parsed:
        run, decision = self._run, asked.decision
        if decision.kind == "given":
            parsed = run.parse_candidate(reply.content)
        else:
            parsed = parse_reply(reply.content, run.parse_candidate, self._parent_text(decision))
        source = None if isinstance(parsed, ParseFailed) else parsed
        candidate_id = run.store.finish_proposal_with_candidate(
            proposal_id,
            StoredReply(
                storable(reply.content),
                storable(reply.reasoning),
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.usd,
                None if reply.model is None else signed(run.proposer.name, reply.model),
            ),
            source=None if source is None else source.text,
            now=run.clock.now(),
            parent_id=decision.parent,
            tune=None if source is None else source.first_choice(),
        )
        run.on_event(
            ReplyReceived(
                decision.ordinal,
                candidate_id,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.usd,
                seconds,
                reply.model,
            )
        )
        unread = Unread(asked.messages, storable(reply.content)) if source is None else None
        candidate = Candidate(candidate_id, decision.ordinal, decision.kind, decision.parent, source, unread)
        return Parsed(candidate, parsed if isinstance(parsed, ParseFailed) else None)

    def _parent_text(self, decision: Decision) -> str | None:
        parent = None if decision.parent is None else self._state.judged[decision.parent].candidate.source
        return None if parent is None else parent.text

    # ---------------------------------------------------------------------------- build and measurement

    async def _measure(self, candidate: Candidate, source: CandidateSource) -> _Result:
        run = self._run
        request = EvaluationRequest(candidate.id, source, source.first_choice(), run.config.track)
        report = await self._retried(candidate, lambda: run.pool.build(request), _trouble_in_build)
        result = report.result
        if isinstance(result, InfraFailed):
            raise AssertionError("an infrastructure failure left the retry loop")
        self._record_build(candidate, result, report.seconds)
        if not isinstance(result, Built):
            return _Result(result, None, StageSeconds(build=report.seconds, total=report.seconds))
        run.on_event(
            CandidateBuilt(candidate.ordinal, candidate.id, result.measures, result.cached, report.seconds)
        )
        measured = await self._retried(
            candidate, lambda: run.pool.measure(request, result), _trouble_in_measurement
        )
        if isinstance(measured.outcome, InfraFailed):
            raise AssertionError("an infrastructure failure left the retry loop")
        seconds = measured.seconds
        total = report.seconds + seconds.check + seconds.bench
        stages = StageSeconds(report.seconds, seconds.check, seconds.bench, total)
        return _Result(measured.outcome, result.measures, stages)

    def _record_build(self, candidate: Candidate, result: Built | Rejected, seconds: float) -> None:
        built = result if isinstance(result, Built) else None
        self._run.store.record_build(
            candidate.id,
            key=None if built is None else built.key,
            ok=built is not None,
            log=storable(result.log) if isinstance(result, Built | BuildFailed) else "",
            facts=None if built is None else built.facts,
            measures=None if built is None else built.measures,
            seconds=seconds,
            now=self._run.clock.now(),
        )

    async def _retried(
        self,
        candidate: Candidate,
        work: Callable[[], Awaitable[Report]],
        trouble_in: Callable[[Report], str | None],
    ) -> Report:
        """Repeat work that the infrastructure failed; its failures are rows, never outcomes."""
        run = self._run
        reason = ""
        for attempt in range(1 + MAX_RETRIES):
            report = await work()
            trouble = trouble_in(report)
            if trouble is None:
                return report
            reason = trouble
            run.store.record_infra(candidate.id, storable(reason), run.clock.now())
            if attempt < MAX_RETRIES:
                run.on_event(InfraRetried(candidate.ordinal, reason, attempt + 1))
        raise InfraError(
            f"Candidate {candidate.ordinal} could not be evaluated in {1 + MAX_RETRIES} attempts: {reason}",
            f"kforge doctor, then {run.resume_command}",
        )


def _stored_prompt(asked: Asked) -> str:
    messages = [{"role": m.role, "content": m.content} for m in asked.messages]
    return json.dumps(messages, ensure_ascii=False)


def _trouble_in_build(report: BuildReport) -> str | None:
    return report.result.reason if isinstance(report.result, InfraFailed) else None


def _trouble_in_measurement(report: MeasureReport) -> str | None:
    outcome: Outcome = report.outcome
    if isinstance(outcome, InfraFailed):
        return outcome.reason
    # The archive compares logarithms: a figure that has none is a broken clock, not a slow kernel.
    if isinstance(outcome, Passed) and not (math.isfinite(outcome.speedup_low) and outcome.speedup_low > 0):
        return f"the pool reported a speedup of at least {outcome.speedup_low}"
    return None
