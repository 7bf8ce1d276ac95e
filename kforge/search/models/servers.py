"""Where a model is served and with which key, and how the key is kept from everybody else."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from kforge.errors import UsageError

Kind = Literal["openai", "vllm"]
OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLES: Mapping[Kind, str] = {"openai": "OPENAI_API_KEY", "vllm": "VLLM_API_KEY"}
NO_KEY = "EMPTY"  # what keyless servers are sent by custom: the client insists on something
_MAX_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Server:
    """One model at one address.

    Attributes:
        url: base URL, with ``/v1`` where the server has one; no credentials in it.
        key: None when one is needed and there is none.
    """

    kind: Kind
    model: str
    url: str
    key: str | None = field(repr=False)

    @property
    def name(self) -> str:
        """What outputs call this model."""
        return f"{self.kind}:{self.model}"

    @property
    def key_variable(self) -> str:
        """The environment variable that holds the key."""
        return KEY_VARIABLES[self.kind]

    def shown(self, text: str) -> str:
        """What a server said, fit to be shown: without the key, on one line, not too long."""
        if self.key and self.key != NO_KEY:
            text = text.replace(self.key, "[key]")
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + " ..."


class Keys:
    """Takes keys out of an environment.

    Reading a key REMOVES it from the mapping, so that no process started later inherits it: compilers and
    candidates have no use for it. Build one ``Keys`` for all models of a process, before it has children.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._taken: dict[str, str] = {}

    def take(self, variable: str) -> str | None:
        """The key in a variable, None when it is unset or blank; the variable is gone afterwards.

        Raises:
            UsageError: it holds something that no HTTP header can carry.
        """
        if variable in self._environment:
            self._taken[variable] = self._environment.pop(variable).strip()
        key = self._taken.get(variable)
        if key and not (key.isascii() and key.isprintable()):
            raise UsageError(
                f"{variable} holds characters that a key cannot have (its value is not shown).",
                f"export {variable}=... again, without quotes, blanks or line breaks inside",
            )
        return key or None


def openai_server(model: str, url: str | None, environment: Mapping[str, str], keys: Keys) -> Server:
    """A model of OpenAI, or of any server that speaks its API.

    Args:
        model: its name there.
        url: base URL; None takes ``OPENAI_BASE_URL``, else OpenAI's own.
        environment: where ``OPENAI_BASE_URL`` may be.
        keys: where ``OPENAI_API_KEY`` may be; only OpenAI itself insists on one.

    Raises:
        UsageError: the URL is none.
    """
    base = checked_url(url or environment.get("OPENAI_BASE_URL") or OPENAI_URL)
    key = keys.take(KEY_VARIABLES["openai"])
    if key is None and urlsplit(base).hostname != urlsplit(OPENAI_URL).hostname:
        key = NO_KEY
    return Server("openai", model, base, key)


def vllm_server(model: str, url: str, keys: Keys) -> Server:
    """A model behind ``vllm serve``: ``/v1`` is appended when missing, the key is optional.

    Raises:
        UsageError: the URL is none.
    """
    base = checked_url(url)
    base = base if base.endswith("/v1") else base + "/v1"
    return Server("vllm", model, base, keys.take(KEY_VARIABLES["vllm"]) or NO_KEY)


def checked_url(url: str) -> str:
    """A base URL without trailing slash.

    Raises:
        UsageError: it is no plain http(s) URL, or it carries credentials: those would end up in the store.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise UsageError(
            f"{url!r} is not the URL of a model server.", "give one such as http://127.0.0.1:8000/v1"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            f"The URL of the server at {parts.hostname} holds a user, password, query or fragment;"
            " it would be stored with the run.",
            "give the bare URL, and the key in OPENAI_API_KEY or VLLM_API_KEY",
        )
    return url.rstrip("/")
