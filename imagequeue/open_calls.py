"""Calls whose client waits for the answer on its connection, and may send them again when that breaks."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import Final

from imagequeue.errors import ImageQueueError, Unavailable
from imagequeue.jobs import Job, JobState, NewJob
from imagequeue.store.open_calls import OpenCallStore
from imagequeue.submission import Submission, Terms

_NOTICE_SECONDS: Final = 2.5
"""How long a call sent again waits for the server to notice that the connection of the first one is gone."""
_LOOK_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call and its job. `reattached`: the job was there, made by the same call sent before.

    Nobody keeps account of calls without a token.
    """

    job: Job
    token: str
    reattached: bool


class OpenCalls:
    """Submits calls and keeps account of who waits for them."""

    def __init__(self, submission: Submission, store: OpenCallStore) -> None:
        self._submission = submission
        self._store = store

    def submit(self, new: NewJob, *, again: bool) -> OpenCall:
        """Store a job for a call; one that is sent again gets the job of an equal call that was not answered.

        What was cancelled is not given again: somebody wanted it stopped.

        Args:
            new: the job, should there be none.
            again: the client says that it sends the call again.

        Raises:
            StoreUnavailable: sent again, the call finds its job if it was stored.
        """
        token = secrets.token_hex(8)
        while True:
            job_id = self._taken(new, token) if again else None
            if job_id is None:
                self._store.begin(new, token)
            job = self._stored(new if job_id is None else new.model_copy(update={"id": job_id}))
            if job_id is None or job.state is not JobState.CANCELLED:
                return OpenCall(job, token, reattached=job_id is not None)
            self._store.end(job, job.id)

    def still_waiting(self, call: OpenCall) -> bool:
        """Say, every 10 s or so, that somebody waits for the answer; whether it is theirs still."""
        return self._store.renew(call.job, call.token)

    def left(self, call: OpenCall) -> None:
        """Nobody waits any more: whoever sends the call again gets its job."""
        self._store.leave(call.job, call.token)

    def answered(self, call: OpenCall) -> None:
        """The answer was sent: the same call from now on is a new one."""
        self._store.end(call.job, call.job.id)

    def _taken(self, new: NewJob, token: str) -> str | None:
        pause, waited = threading.Event(), 0.0
        while (found := self._store.take(new, token, "left")) == "attended" and waited < _NOTICE_SECONDS:
            pause.wait(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
        if found == "attended":  # a connection can be dead without anybody having noticed
            found = self._store.take(new, token, "any")
        return None if found == "none" else found

    def _stored(self, new: NewJob) -> Job:
        try:
            return self._submission.submit(Terms(new.owner, new.key_id), lambda: (new, None)).job
        except ImageQueueError as error:
            if not isinstance(error, Unavailable):
                self._store.end(new, new.id)
            raise
