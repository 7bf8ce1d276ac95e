"""Who writes candidates: what a proposer is given, what it answers, and the protocol it satisfies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from kforge.errors import UsageError
from kforge.types import TaskDescription

Role = Literal["system", "user", "assistant"]
# Proposers whose runs say loudly that no model was asked.
ASK_NO_MODEL = ("offline", "replay")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation that a proposer completes."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """Everything a proposer may know.

    Attributes:
        messages: system and user turns.
        seed: sampling seed of this proposal, drawn from the run's seed and the ordinal.
        ordinal: number of the candidate in its run, from 0.
        max_completion_tokens: upper bound of the reply, reasoning included.
        id: names this request among those of all runs; a resumed run asks again under the same id.
    """

    messages: tuple[Message, ...]
    seed: int
    ordinal: int
    max_completion_tokens: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A proposer's answer, word for word, with what it cost.

    Attributes:
        model: who wrote it, where that is news: one proposer may pass on what many wrote.
    """

    content: str
    reasoning: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request that was made and has no answer yet.

    Attributes:
        place: where the answer is awaited.
        prompt: name of the prompt there.
        rejected: why what looked like an answer was none; empty when there was nothing.
    """

    place: str
    prompt: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request may cost at most, before it is made: what a budget sets aside for it."""

    tokens: int
    usd: float


NO_CHARGE = Quote(0, 0.0)


class Proposer(Protocol):
    """A model, or something that stands in for one."""

    @property
    def name(self) -> str:
        """What every output calls this proposer."""
        ...

    @property
    def offline(self) -> bool:
        """True when no model is asked: outputs must say so."""
        ...

    @property
    def keeps_requests(self) -> bool:
        """True when a request outlives the process that made it and can be answered without it.

        Only such a proposer may answer ``Unanswered``. Its open requests are never given up.
        """
        ...

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Models that it asks and whose price is unknown: their dollars are counted as none."""
        ...

    def quote(self, request: ProposalRequest) -> Quote:
        """What ``request`` costs at most."""
        ...

    async def prepare(self) -> None:
        """Find out, before anything starts, what would make every request fail.

        Raises:
            MissingPrerequisite: a key or a package is missing.
            UsageError: the server does not have the model.
            InfraError: the server does not answer.
        """
        ...

    async def close(self) -> None:
        """Free connections; safe to call twice."""
        ...

    def supports(self, task: TaskDescription) -> str | None:
        """None when the proposer can write for ``task``, else why not and what to do instead."""
        ...

    async def propose(self, request: ProposalRequest) -> Reply | Unanswered:
        """Write one reply, or say that it has not come yet: the same request is made again later.

        Raises:
            InfraError: no reply can be had (connection, quota); the loop tries again, then stops.
        """
        ...


class FreeOfCharge:
    """The part of a ``Proposer`` that buys nothing and holds nothing."""

    @property
    def unpriced(self) -> tuple[str, ...]:
        """None."""
        return ()

    def quote(self, request: ProposalRequest) -> Quote:
        """No charge."""
        return NO_CHARGE

    async def prepare(self) -> None:
        """Nothing is looked for."""

    async def close(self) -> None:
        """Nothing is held."""


class StandIn(FreeOfCharge):
    """A proposer that asks no model and answers at once."""

    @property
    def offline(self) -> bool:
        """True: no model is asked."""
        return True

    @property
    def keeps_requests(self) -> bool:
        """False: it answers at once."""
        return False


def signed(proposer: str, model: str | None) -> str:
    """What a proposal's row calls its model: the proposer, and who wrote the reply where that is news."""
    return proposer if model is None else f"{proposer}: {model}"


def signature(stored: str) -> tuple[str, str | None]:
    """Proposer and model from ``signed``."""
    proposer, _, model = stored.partition(": ")
    return proposer, model or None


def require_support(proposer: Proposer, task: TaskDescription) -> None:
    """Refuse a proposer that cannot write for a task.

    Raises:
        UsageError: with the proposer's reason.
    """
    reason = proposer.supports(task)
    if reason is not None:
        raise UsageError(
            f"Proposer {proposer.name} cannot write for task {task.id}: {reason}",
            "ask a model: --model openai:MODEL, vllm:MODEL@URL or exchange:DIR (docs/models.md); or evaluate "
            "your own kernel: --from FILE --evals 1",
        )
