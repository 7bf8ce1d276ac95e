"""Which fields of a request a server takes. What it refused once is not sent to it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kforge.search.models.sampling import Sampling
from kforge.search.proposer import Message

_SEED_BITS = 2**31 - 1  # every server takes these; some take no more
_MAX_TEXT = 400
_REFUSED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|extra"
    r"|invalid param|only the default|not available|no such",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Dialect:
    """What is known of one server; starts with the full form and learns from its refusals."""

    streams: bool = True
    limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    takes_temperature: bool = True
    takes_seed: bool = True
    takes_n: bool = True

    def body(
        self, model: str, messages: Sequence[Message], *, sampling: Sampling, n: int, seed: int, limit: int
    ) -> dict[str, object]:
        """The request, in what this server understands."""
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            self.limit_field: limit,
        }
        if n > 1:
            body["n"] = n
        if self.streams:
            # A long thought must not look like a dead connection, and the tokens must still be counted.
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if sampling.temperature is not None and self.takes_temperature:
            body["temperature"] = sampling.temperature
        if sampling.seeded and self.takes_seed:
            body["seed"] = seed & _SEED_BITS
        return body

    def learn(self, sent: Mapping[str, object], parameter: str | None, text: str) -> bool:
        """Learn from a refused request.

        Args:
            sent: the request.
            parameter: the field that the server names as the culprit, if it names one.
            text: what it said. Only its beginning counts: some servers repeat the request.

        Returns:
            Whether a request without what it refused is worth sending.
        """
        text = text[:_MAX_TEXT]

        def refused(field: str) -> bool:
            named = parameter == field or re.search(rf"\b{field}\b", text) is not None
            return field in sent and named

        # Their values are always right, so whatever the server says about them, it wants none.
        if refused("stream_options") or ("stream" in sent and parameter == "stream"):
            self.streams = False
            return True
        if refused("seed"):
            self.takes_seed = False
            return True
        # These may be refused for their value: that is the user's to correct.
        if not _REFUSED.search(text):
            return False
        if refused("temperature"):
            self.takes_temperature = False
            return True
        if refused("max_completion_tokens"):
            self.limit_field = "max_tokens"
            return True
        if "n" in sent and parameter == "n":
            self.takes_n = False
            return True
        return False
