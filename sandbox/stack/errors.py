"""What stops `imagequeue up`, as one line for the person who typed it.

StackError
├── BadFolder          the data folder cannot be used
├── AlreadyRunning     another stack holds the data folder
├── PortTaken          the port that was asked for is not to be had (exit code 2)
├── ProgramMissing     a server program is not installed
└── ServiceFailed      a service ended or did not become healthy in time; carries the end of its log
"""

from __future__ import annotations


class StackError(Exception):
    """Base of them all; `exit_code` is what the command returns."""

    exit_code = 1


class BadFolder(StackError):
    """The data folder cannot be made or written."""


class AlreadyRunning(StackError):
    """A stack or a server of an earlier one still uses the data folder."""


class PortTaken(StackError):
    """Somebody listens on the port that was asked for, or this user may not."""

    exit_code = 2


class ProgramMissing(StackError):
    """A program that the stack starts is not installed."""


class ServiceFailed(StackError):
    """A service ended, or was not healthy at its deadline."""

    def __init__(self, message: str, log_tail: str) -> None:
        """Keep the last lines of the service's log beside the message."""
        super().__init__(message)
        self.log_tail = log_tail
