"""A model behind a chat server as the proposer."""

from __future__ import annotations

import difflib
import math

from kforge.errors import MissingPrerequisite, UsageError
from kforge.search.models.chat import Bill, ChatClient
from kforge.search.models.prices import FREE, PriceTable
from kforge.search.models.wire import estimated_tokens
from kforge.search.proposer import ProposalRequest, Quote, Reply
from kforge.types import TaskDescription

# Code and numbers take more tokens than the four characters each of English text, down to about three; a chat
# template adds a few to every message. A quote must not be exceeded, an estimate may be.
_PROMPT_MARGIN = 4 / 3
_TEMPLATE_TOKENS = 16
_MAX_MODEL_CHARS = 200


class ChatProposer:
    """Asks one model for one reply at a time and says what it cost."""

    def __init__(self, client: ChatClient, prices: PriceTable) -> None:
        """Make a proposer; nothing is sent before ``prepare``.

        Args:
            client: knows the model and asks it; closed by ``close``.
            prices: a model of ``vllm:`` that is not listed costs nothing, since it runs on an own machine;
                any other is ``unpriced``.
        """
        self._server = server = client.server
        self._client = client
        listed = prices.price(server.model)
        self._price = listed or FREE
        self._unpriced = (server.name,) if listed is None and server.kind == "openai" else ()
        # What the attempts at a proposal cost that came to nothing; its reply pays for them.
        self._bills: dict[int, Bill] = {}

    @property
    def name(self) -> str:
        """What every output calls this proposer, such as ``openai:MODEL``."""
        return self._server.name

    @property
    def offline(self) -> bool:
        """False: a model is asked."""
        return False

    @property
    def keeps_requests(self) -> bool:
        """False: a request ends with its connection."""
        return False

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The model itself, when its price is unknown."""
        return self._unpriced

    def quote(self, request: ProposalRequest) -> Quote:
        """The prompt, reckoned generously, and the longest reply, at the dearest price.

        A request that has to be repeated after output began can cost more.
        """
        characters = sum(len(message.content) for message in request.messages)
        prompt = math.ceil(estimated_tokens(characters) * _PROMPT_MARGIN)
        prompt += _TEMPLATE_TOKENS * len(request.messages)
        limit = request.max_completion_tokens
        usd = (prompt * self._price.dearest_input + limit * self._price.output) / 1e6
        return Quote(prompt + limit, usd)

    async def prepare(self) -> None:
        """See to it that there is a key, that the server answers, and that it has the model.

        Raises:
            MissingPrerequisite: no key, or not accepted.
            UsageError: the server does not list the model.
            InfraError: the server does not answer.
        """
        server = self._server
        if server.key is None:
            raise MissingPrerequisite(
                f"{server.name} at {server.url} needs a key, and {server.key_variable} is not set.",
                f"export {server.key_variable}=...",
            )
        names = await self._client.model_names()
        if names is None or server.model in names:
            return
        near = difflib.get_close_matches(server.model, names, n=3, cutoff=0.3) or sorted(names)[:3]
        shown = server.shown(", ".join(near))
        raise UsageError(
            f"{server.url} has no model {server.model!r}; the nearest of {len(names)}: {shown}.",
            f"name one of them, or see them all: curl {server.url}/models",
        )

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        await self._client.close()

    def supports(self, task: TaskDescription) -> str | None:
        """None: a model may know any task."""
        return None

    async def propose(self, request: ProposalRequest) -> Reply:
        """Ask for one reply. Its cost includes earlier attempts at the same proposal that failed.

        Raises:
            InfraError: no reply can be had now.
            MissingPrerequisite: the key is not accepted.
            UsageError: the server does not have the model, or does not take the request.
        """
        bill = self._bills.setdefault(request.ordinal, Bill())
        sample = await self._client.sample(
            request.messages, 1, request.seed, request.max_completion_tokens, bill
        )
        spend = self._bills.pop(request.ordinal).spend
        (completion,) = sample.completions
        return Reply(
            completion.content,
            completion.reasoning,
            spend.prompt_tokens,
            spend.completion_tokens,
            self._price.usd(spend),
            _news(sample.model, self._server.model),
        )


def _news(answered: str | None, asked: str) -> str | None:
    """Who answered, when it is somebody else than was asked and the name is fit to be shown."""
    if answered is None or answered == asked:
        return None
    return answered if answered.isprintable() and len(answered) <= _MAX_MODEL_CHARS else None
