"""Waiting for a job on the client's connection, for as long as there is a client."""

from __future__ import annotations

import math
import select
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, cast

from flask import request

from api.context import the_owner, the_queue, the_settings
from api.openai_wire.errors import SERVER_ERROR, OpenAIError, headers_of
from imagequeue.jobs import Job
from imagequeue.open_calls import OpenCall
from imagequeue.service import ImageQueue

_LOOK_SECONDS: Final = 1.0
"""How soon it is noticed that a client has left, or that the process is to end."""
_REREAD_LOOKS: Final = 5
"""The record is read after so many looks even if nothing wakes the waiter: a net, not the mechanism."""
_RENEW_LOOKS: Final = 10
_SERVER_SOCKET: Final = "gunicorn.socket"


class ClientGone(Exception):
    """Nobody is there any more to be answered."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """One request that waits for its job; made in the request's own thread, and used after its view has ended too."""

    queue: ImageQueue
    owner: str
    call: OpenCall
    seconds: float
    connection: socket.socket | None

    @classmethod
    def of(cls, call: OpenCall, *, streamed: bool) -> Waiter:
        """The current request's. A stream waits for ever: it is kept alive."""
        connection = cast("socket.socket | None", request.environ.get(_SERVER_SOCKET))
        seconds = math.inf if streamed else the_settings().images_wait_seconds
        return cls(the_queue(), the_owner(), call, seconds, connection)

    def looks(self) -> Generator[Job | None]:
        """The job as it is now and whenever something has happened to it, its end last; None every second between.

        Raises:
            ClientGone: the client has closed its connection.
            OpenAIError: the time is up, or the process is to end; the SDK then sends the call again.
        """
        changed, looks, deadline = threading.Event(), 0, time.monotonic() + self.seconds
        with self.queue.listening(self.call.job.id, lambda _job_id, _event: changed.set()):
            while True:
                changed.clear()
                job = self.queue.get(self.call.job.id, owner=self.owner)
                if job.state.terminal and self.gone():
                    raise ClientGone
                yield job
                if job.state.terminal:
                    return
                for _ in range(_REREAD_LOOKS):
                    if changed.wait(_LOOK_SECONDS):
                        break
                    self._check(job, deadline)
                    looks += 1
                    if looks % _RENEW_LOOKS == 0:
                        self.queue.calls.still_waiting(self.call)
                    yield None
                self._check(job, deadline)

    def end(self) -> Job:
        """The job once it has ended; raises what `looks` does."""
        job = self.call.job
        for seen in self.looks():
            job = seen or job
        return job

    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        if self.connection is None:
            return False
        try:
            poll = select.poll()
            poll.register(self.connection, select.POLLIN)
            return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _check(self, job: Job, deadline: float) -> None:
        if self.gone():
            raise ClientGone
        if self.queue.stopping:
            message = f"The server is restarting; job {job.id} goes on. Sent again, the call gets its images."
            raise OpenAIError(
                message,
                503,
                "server_stopping",
                kind=SERVER_ERROR,
                retry=True,
                headers={**headers_of(job), "Retry-After": "1"},
            )
        if time.monotonic() >= deadline:
            message = (
                f"Job {job.id} is still {job.state} after {self.seconds:g} s and goes on: wait for it with "
                f"GET /v1/jobs/{job.id}?wait=60. OpenAI's SDKs send the call again by themselves, and get this job "
                "then; other clients do with 'Prefer: reattach'. Nothing is bought twice."
            )
            raise OpenAIError(message, 504, "job_not_finished", kind=SERVER_ERROR, retry=True, headers=headers_of(job))
