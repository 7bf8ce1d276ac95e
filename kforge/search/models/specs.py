"""The visible list of proposers: how each is written after ``--model``, and what makes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kforge.clock import Clock
from kforge.errors import UsageError
from kforge.search.models.sampling import Sampling
from kforge.search.models.servers import Keys, Server, checked_url, openai_server, vllm_server

if TYPE_CHECKING:
    from kforge.search.models.prices import PriceTable
    from kforge.search.proposer import Proposer

_MAX_MODEL_CHARS = 200
_AT_URL = re.compile(r"(?P<model>.+?)@(?P<url>https?://.*)")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What proposers are made with."""

    clock: Clock
    environment: Mapping[str, str]
    keys: Keys
    prices: PriceTable
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class ProposerKind:
    """One way to get proposals.

    Attributes:
        spec: how it is written.
        make: makes it from what follows the colon.
        holds_path: what follows the colon is a path.
        alone: why it cannot be one of several; None when it can.
    """

    spec: str
    make: Callable[[str, Surroundings], Proposer]
    holds_path: bool = False
    alone: str | None = None


def _make_openai(rest: str, given: Surroundings) -> Proposer:
    model, url = _model_and_url("openai", rest)
    return _chat_proposer(openai_server(model, url, given.environment, given.keys), given)


def _make_vllm(rest: str, given: Surroundings) -> Proposer:
    model, url = _model_and_url("vllm", rest)
    if url is None:
        raise _malformed("vllm:" + rest, "it names no server", f"use vllm:{model}@http://127.0.0.1:8000")
    return _chat_proposer(vllm_server(model, url, given.keys), given)


def _chat_proposer(server: Server, given: Surroundings) -> Proposer:
    from kforge.search.models.chat import ChatClient
    from kforge.search.models.chat_proposer import ChatProposer

    return ChatProposer(ChatClient(server, given.sampling, given.clock), given.prices)


def _make_replay(rest: str, given: Surroundings) -> Proposer:
    from kforge.search.models.replay import ReplayProposer

    return ReplayProposer(Path(rest))


def _make_exchange(rest: str, given: Surroundings) -> Proposer:
    from kforge.search.exchange import ExchangeProposer

    return ExchangeProposer(Path(rest), given.clock)


def _make_offline(rest: str, given: Surroundings) -> Proposer:
    from kforge.search.offline.proposer import OfflineProposer

    return OfflineProposer()


PROPOSERS: Mapping[str, ProposerKind] = {
    "openai": ProposerKind("openai:MODEL[@URL]", _make_openai),
    "vllm": ProposerKind("vllm:MODEL@URL", _make_vllm),
    "replay": ProposerKind("replay:FILE", _make_replay, holds_path=True),
    "exchange": ProposerKind(
        "exchange:DIR", _make_exchange, holds_path=True,
        alone="its prompts wait for hours while the others answer in seconds, so it would hold them up",
    ),
    "offline": ProposerKind(
        "offline", _make_offline,
        alone="it is no model and knows a few tasks only: mixed in, it would pass for one in every count",
    ),
}  # fmt: skip


def make_proposer(
    specs: Sequence[str],
    *,
    clock: Clock,
    environment: MutableMapping[str, str],
    prices: PriceTable,
    sampling: Sampling,
) -> Proposer:
    """The proposer that one or more ``--model`` name; several take turns.

    API keys are taken OUT of ``environment``, so that no process started afterwards inherits them. Call it
    once for a process, before it starts others, and with ``os.environ`` itself.

    Raises:
        UsageError: a spec is malformed, or cannot be one of several.
        MissingPrerequisite: a proposer lacks something on this machine.
    """
    given = Surroundings(clock, environment, Keys(environment), prices, sampling)
    kinds = [(spec, *_kind(spec)) for spec in specs]
    if not kinds:
        raise UsageError("No proposer is named.", f"use --model with one of: {_listed()}")
    if len(kinds) > 1:
        for spec, kind, _ in kinds:
            if kind.alone is not None:
                raise UsageError(
                    f"{spec} cannot be one of several models: {kind.alone}.", f"use --model {spec} alone"
                )
    members = [kind.make(rest, given) for _, kind, rest in kinds]
    if len(members) == 1:
        return members[0]
    from kforge.search.models.ensemble import Ensemble

    return Ensemble(members)


def lasting(spec: str) -> str:
    """A spec that means the same from every directory; one that is malformed stays as it is."""
    name, _, rest = spec.partition(":")
    kind = PROPOSERS.get(name)
    if kind is None or not kind.holds_path or not rest:
        return spec
    return f"{name}:{Path(rest).expanduser().absolute()}"


def _kind(spec: str) -> tuple[ProposerKind, str]:
    name, colon, rest = spec.partition(":")
    kind = PROPOSERS.get(name)
    complete = kind is not None and (bool(rest) if ":" in kind.spec else not colon)
    if kind is None or not complete:
        raise _malformed(
            spec, f"this version has: {_listed()}", "use --model offline to try kforge out, or one of those"
        )
    return kind, rest


def _listed() -> str:
    return ", ".join(kind.spec for kind in PROPOSERS.values())


def _model_and_url(kind: str, rest: str) -> tuple[str, str | None]:
    """Model and URL of ``MODEL[@URL]``; model names may hold slashes, colons and even an ``@`` in front.

    Raises:
        UsageError: neither is fit for use.
    """
    found = _AT_URL.fullmatch(rest)
    model, url = (found["model"], found["url"]) if found else (rest, None)
    if "@" in model[1:]:
        raise _malformed(
            f"{kind}:{rest}", "what follows the @ is no URL", f"use {kind}:MODEL@http://HOST:PORT/v1"
        )
    if not model.isprintable() or " " in model or len(model) > _MAX_MODEL_CHARS:
        raise _malformed(
            f"{kind}:{rest[:_MAX_MODEL_CHARS]}", "no model has such a name", f"use {PROPOSERS[kind].spec}"
        )
    return model, None if url is None else checked_url(url)


def _malformed(spec: str, why: str, next_step: str) -> UsageError:
    return UsageError(f"--model {spec!r} names no proposer: {why}.", next_step)
