"""How commands end: exit codes, and errors as lines on stderr."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Final, NoReturn

import typer

from imagequeue.errors import ImageQueueError, InputFault, InvalidRequest, Misconfigured, Unavailable

_BAD_INPUT: Final = frozenset(
    {"invalid_request", "invalid_manifest", "body_too_large", "unauthorized", "forbidden", *InputFault}
)
_ANSWERED: Final = frozenset({"session_full", "budget_exceeded", "too_many_jobs_in_flight", "too_many_jobs_per_minute"})
"""The API answers: something else must happen first."""


class ExitCode(IntEnum):
    """What a script can rely on."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    INTERRUPTED = 130  # 128 + SIGINT, as shells count


def say(text: str) -> None:
    """Print a line for the person, out of the way of what a script reads."""
    typer.echo(text, err=True)


def fail(error: ImageQueueError) -> NoReturn:
    """Print why the command ends, one line a broken rule, and exit with the code that fits."""
    say(str(error))
    sys.exit(exit_code(error))


def exit_code(error: ImageQueueError) -> ExitCode:
    """The exit code of an error, by its class, or by the API's stable code."""
    if isinstance(error, InvalidRequest | Misconfigured) or error.code in _BAD_INPUT:
        return ExitCode.BAD_INPUT
    if error.code in _ANSWERED:
        return ExitCode.FAILED
    if isinstance(error, Unavailable) or error.code == "not_imagequeue" or error.retryable:
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED
