"""Waiting in the main thread for a stop signal or the end of a child, without a race between the two."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalWaiter:
    """While entered, SIGINT, SIGTERM and SIGHUP set `stop_requested` instead of ending the process.

    The signals arrive as bytes on a socket, so one that comes just before `wait` still ends it. Main thread only.
    """

    def __init__(self) -> None:
        """Nothing happens before it is entered."""
        self.stop_requested = False
        self._previous: dict[signal.Signals, Any] = {}
        self._previous_descriptor = -1
        self._reader, self._writer = socket.socketpair()

    def __enter__(self) -> Self:
        """Take the signals over."""
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._previous_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # A SIGHUP that is ignored (nohup) stays ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, _only_wake_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_descriptor)
        self._reader.close()
        self._writer.close()

    def wait(self, seconds: float | None = None) -> None:
        """Return at the next signal, the end of a child included, or after `seconds`."""
        if select.select([self._reader], [], [], seconds)[0]:
            arrived = self._reader.recv(4096)
            self.stop_requested = self.stop_requested or any(number in arrived for number in STOP_SIGNALS)


def _only_wake_up(number: int, frame: FrameType | None) -> None:
    """Do nothing: the byte on the socket tells."""
