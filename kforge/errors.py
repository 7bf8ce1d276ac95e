"""Errors that reach a person. Each says what is wrong, why, and what to type next.

A failed candidate is never an exception: it is an ``Outcome``. These are for wrong usage, missing
prerequisites and broken infrastructure.
"""

from __future__ import annotations

from collections.abc import Mapping


class KforgeError(Exception):
    """Base of every error kforge raises on purpose.

    Args:
        message: the value and the cause, one or two sentences.
        next_step: the command or change that gets the reader on.
        details: further keys of the JSON document: what is known in spite of the error.
    """

    code = "error"
    exit_code = 3

    def __init__(self, message: str, next_step: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.details = dict(details or {})


class UsageError(KforgeError):
    """The command line, a file or an id is wrong (exit 2)."""

    code = "usage"
    exit_code = 2


class TaskError(UsageError):
    """A task is unknown or cannot be loaded (exit 2); the message names file and line."""

    code = "task"


class MissingPrerequisite(KforgeError):
    """A wheel, compiler, key or file is missing (exit 2)."""

    code = "missing"
    exit_code = 2


class NoDevice(KforgeError):
    """No device of the asked kind (exit 3)."""

    code = "no_device"
    exit_code = 3


class StoreError(KforgeError):
    """The store cannot be opened, read or written (exit 3)."""

    code = "store"
    exit_code = 3


class InfraError(KforgeError):
    """Infrastructure broke: a worker died, the disk is full (exit 3)."""

    code = "infra"
    exit_code = 3


class NoMoreReplies(InfraError):
    """A model cannot answer, and asking it again is no use: credit spent, recording at its end (exit 3)."""
