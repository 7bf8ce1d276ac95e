"""Several models that take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from kforge.errors import KforgeError
from kforge.search.proposer import ProposalRequest, Proposer, Quote, Reply, Unanswered
from kforge.types import TaskDescription


class Ensemble:
    """Proposal ``k`` is written by member ``k mod n``, so a resumed run asks the same one.

    A member that is listed twice gets twice as many proposals.
    """

    def __init__(self, members: Sequence[Proposer]) -> None:
        """Take turns among ``members``, of which there is at least one."""
        self._members = tuple(members)

    @property
    def name(self) -> str:
        """What every output calls this proposer."""
        return "ensemble"

    @property
    def offline(self) -> bool:
        """True when no member asks a model."""
        return all(member.offline for member in self._members)

    @property
    def keeps_requests(self) -> bool:
        """False: no member does."""
        return False

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Those of the members, each once."""
        return tuple(dict.fromkeys(model for member in self._members for model in member.unpriced))

    def quote(self, request: ProposalRequest) -> Quote:
        """That of the member whose turn it is."""
        return self._writer(request).quote(request)

    async def prepare(self) -> None:
        """Prepare all members at the same time.

        Raises:
            KforgeError: one or more cannot be used; the message names all of them.
        """
        results = await asyncio.gather(
            *(member.prepare() for member in self._members), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, KforgeError):
                raise result
        errors = {str(error): error for error in results if isinstance(error, KforgeError)}
        if not errors:
            return
        first, *others = errors.values()
        if not others:
            raise first
        raise type(first)(
            f"{len(errors)} models cannot be used. " + " ".join(error.message for error in errors.values()),
            "; ".join(dict.fromkeys(error.next_step for error in errors.values())),
        )

    async def close(self) -> None:
        """Close all members."""
        for member in self._members:
            await member.close()

    def supports(self, task: TaskDescription) -> str | None:
        """None when every member can write for the task, else the first reason why not."""
        reasons = (member.supports(task) for member in self._members)
        return next((reason for reason in reasons if reason is not None), None)

    async def propose(self, request: ProposalRequest) -> Reply | Unanswered:
        """Ask the member whose turn it is; the reply's model is that member.

        Raises:
            InfraError: no reply can be had now.
            MissingPrerequisite: its key is not accepted.
            UsageError: its server does not have the model, or does not take the request.
        """
        writer = self._writer(request)
        reply = await writer.propose(request)
        return replace(reply, model=writer.name) if isinstance(reply, Reply) else reply

    def _writer(self, request: ProposalRequest) -> Proposer:
        return self._members[request.ordinal % len(self._members)]
